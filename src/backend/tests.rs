//! The same conformance tests on every backend.

use super::*;

fn each(test: impl Fn(&dyn Backend)) {
    test(&MemoryBackend::new());
    let folder = tempfile::tempdir().unwrap();
    test(&LocalBackend::create(folder.path()).unwrap());
}

#[test]
fn the_first_put_wins() {
    each(|backend| {
        assert_eq!(
            backend.put_new("catalog/1", b"first").unwrap(),
            Put::Created
        );
        assert_eq!(
            backend.put_new("catalog/1", b"second").unwrap(),
            Put::Exists
        );
        assert_eq!(backend.read("catalog/1", 100).unwrap(), b"first");
        assert_eq!(backend.list("catalog").unwrap(), ["1"]);
    });
}

#[test]
fn a_pending_object_is_readable_and_nameless() {
    each(|backend| {
        let pending = backend.begin().unwrap();
        assert_eq!(pending.append(b"abc").unwrap(), 0);
        assert_eq!(pending.append(b"def").unwrap(), 3);
        let mut middle = [0; 4];
        pending.read_exact_at(1, &mut middle).unwrap();
        assert_eq!(&middle, b"bcde");
        assert!(backend.list("packs/00").unwrap().is_empty());
        assert_eq!(pending.commit("packs/00/1").unwrap(), Put::Created);
        let again = backend.begin().unwrap();
        assert_eq!(again.commit("packs/00/1").unwrap(), Put::Exists);
        let object = backend.open("packs/00/1").unwrap();
        assert_eq!(object.len(), 6);
        assert!(object.read_exact_at(3, &mut middle).is_err());
    });
}

#[test]
fn missing_objects_are_named() {
    each(|backend| {
        let error = backend.open("packs/00/2").unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains("packs/00/2"));
        assert!(!backend.exists("packs/00/2").unwrap());
        backend.delete("packs/00/2").unwrap();
        assert!(backend.list("nothing").unwrap().is_empty());
    });
}

#[test]
fn what_is_open_survives_a_delete() {
    each(|backend| {
        backend.put_new("indexes/1", b"abc").unwrap();
        let object = backend.open("indexes/1").unwrap();
        backend.delete("indexes/1").unwrap();
        let mut bytes = [0; 3];
        object.read_exact_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"abc");
    });
}

#[test]
fn many_writers_of_one_name_have_one_winner() {
    each(|backend| {
        let winners: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8_u8)
                .map(|number| scope.spawn(move || backend.put_new("catalog/7", &[number]).unwrap()))
                .collect();
            threads
                .into_iter()
                .filter(|_| true)
                .map(|t| t.join().unwrap())
                .filter(|put| *put == Put::Created)
                .count()
        });
        assert_eq!(winners, 1);
    });
}

#[test]
fn a_store_folder_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    LocalBackend::create(&root).unwrap();
    assert_eq!(
        std::fs::metadata(&root).unwrap().permissions().mode() & 0o777,
        0o700
    );
}
