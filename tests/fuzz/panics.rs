//! Notes panics instead of printing them: where, and what was said.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    static IS_NOTED: RefCell<bool> = const { RefCell::new(false) };
}

static HOOK: Once = Once::new();

/// From now on panics of this thread are noted; those of others go on as before.
pub fn note() {
    IS_NOTED.set(true);
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_NOTED.with(|is_noted| *is_noted.borrow()) {
                return before(info);
            }
            let place = info.location().map_or_else(String::new, |place| {
                format!("{}:{}", place.file(), place.line())
            });
            let key = place.replace(['/', ':', '.'], "-");
            LAST.set(Some((key, info.to_string())));
        }));
    });
}

/// Panics of this thread are printed again.
pub fn print() {
    IS_NOTED.set(false);
}

pub fn forget() {
    LAST.set(None);
}

/// Returns the last panic.
pub fn last() -> (String, String) {
    LAST.take()
        .unwrap_or_else(|| ("unknown".to_owned(), "a panic without a word".to_owned()))
}
