//! Development only.
use std::sync::Arc;
struct L;
impl log::Log for L {
    fn enabled(&self, m: &log::Metadata) -> bool {
        m.level() <= log::Level::Info && m.target().starts_with("tintype")
    }
    fn log(&self, r: &log::Record) {
        if self.enabled(r.metadata()) {
            eprintln!("{} {}", r.level(), r.args());
        }
    }
    fn flush(&self) {}
}
fn main() {
    log::set_logger(&L).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let a: Vec<String> = std::env::args().collect();
    let path = std::path::PathBuf::from(&a[1]);
    let backend: Arc<dyn tintype::backend::Backend> =
        Arc::new(tintype::backend::LocalBackend::create(&path).unwrap());
    if !path.join("config.json").exists() {
        tintype::store::Store::init(&*backend, &Default::default()).unwrap();
    }
    let store = tintype::store::Store::open(backend, &Default::default()).unwrap();
    let catalog = tintype::snapshot::Catalog::open(store).unwrap();
    let mut o = tintype::fuse::MountOptions::new(&a[2]);
    if let Some(d) = a.get(3) {
        o.release_delay = std::time::Duration::from_millis(d.parse().unwrap());
    }
    let h = tintype::fuse::mount(&catalog, &o).unwrap();
    eprintln!("mounted");
    h.wait().unwrap();
    eprintln!("over");
}
