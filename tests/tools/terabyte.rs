//! A sparse image of 1 TiB: time and space go with its data, not with its size.

use super::support::{
    Finished, Fixture, Rng, allocated_bytes, compare_sparse, data_ranges, measured, needs,
    number_from_env,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

const LEN: u64 = 1 << 40;
const PIECE: u64 = 4 << 20;

/// Makes the image: pieces of 4 MiB, evenly spread.
fn terabyte_image(path: &Path, data_mib: u64) {
    let file = File::create(path).expect("an image can be made");
    file.set_len(LEN).expect("a sparse file of 1 TiB");
    let mut rng = Rng::new(77);
    let mut piece = vec![0; PIECE as usize];
    let pieces = data_mib * (1 << 20) / PIECE;
    for index in 0..pieces {
        rng.fill(&mut piece);
        let offset = (LEN - PIECE) / pieces * index / 4096 * 4096;
        file.write_all_at(&piece, offset).expect("write");
    }
}

#[test]
fn goes_in_and_out_in_proportion_to_its_data() {
    needs!("fuse", "qemu-img");
    let data_mib = number_from_env("TINTYPE_TEST_TERABYTE_MIB", 1024, 4096);
    let fixture = Fixture::new();
    let source = fixture.scratch.join("tera.img");
    terabyte_image(&source, data_mib);
    // A minute for each GiB, on a machine that does something else too; reading 1 TiB of
    // zeros would take ten times as long.
    let limit = Duration::from_secs(30 + 60 * data_mib / 1024);
    let within = |what: &str, finished: Finished| {
        let finished = finished.expect_ok(what);
        measured!(
            "1 TiB with {data_mib} MiB of data, {what}: {:.2?}",
            finished.elapsed
        );
        assert!(finished.elapsed < limit, "{what}: {:?}", finished.elapsed);
    };
    within(
        "create",
        fixture.shell("$TINTYPE --store $S create --resource a $W/tera.img"),
    );
    within(
        "cp into create/",
        fixture.shell("cp --sparse=auto $W/tera.img $C/b"),
    );
    fixture.expect_count("b", 1);
    let store = fixture
        .shell_ok("du -sm $S | cut -f1")
        .parse::<u64>()
        .expect("MiB");
    assert!(store < data_mib * 3 / 2 + 64, "the store has {store} MiB");

    let image = fixture.expect_count("a", 1).remove(0).join("disk.img");
    let ranges = data_ranges(&File::open(&image).expect("open"));
    let data: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert_eq!(data, data_mib << 20, "data in {} ranges", ranges.len());
    let copies = [
        (
            "cp out",
            format!("cp --sparse=auto {} $W/out", image.display()),
        ),
        (
            "qemu-img convert",
            format!("qemu-img convert -f raw -O raw {} $W/out", image.display()),
        ),
        (
            "restore",
            "$TINTYPE --store $S restore a@latest $W/out".to_owned(),
        ),
        (
            "cp of the other",
            "cp --sparse=auto $M/snapshots/b/latest/disk.img $W/out".to_owned(),
        ),
    ];
    for (what, script) in copies {
        fixture.shell_ok("rm -f $W/out");
        within(what, fixture.shell(&script));
        let out = fixture.scratch.join("out");
        compare_sparse(&source, &out);
        let used = allocated_bytes(&out);
        assert!(
            used < (data_mib << 20) * 11 / 10 + (1 << 20),
            "{what} wrote {used} bytes"
        );
    }
}
