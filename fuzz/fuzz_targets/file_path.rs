//! Paths that are accepted stay below the folder they are opened in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::names::FilePath;

fuzz_target!(|text: &str| {
    if let Ok(path) = FilePath::new(text) {
        assert_eq!(path.as_str(), text);
        let path = std::path::Path::new(path.as_str());
        assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
    }
});
