//! How the whereabouts of damage are told.

use serde_json::{Value, json};
use vault_core::vault::{Hit, Tensors, Whereabouts};

use crate::ui::count;

/// For people; the object is named first.
pub fn line_of(object: &str, place: &Whereabouts) -> String {
    let Whereabouts { stream, segments, bytes, files, more_files } = place;
    let name = if *stream == u32::MAX { "the index".to_owned() } else { format!("stream {stream}") };
    let mut pieces = vec![format!(
        "  {object}: segments {}..{} of {name}, bytes {}..{} of its ciphertext",
        segments.start, segments.end, bytes.start, bytes.end
    )];
    pieces.extend(files.iter().map(|Hit { path, range, tensors }| {
        let tensors = match tensors {
            Tensors::None => String::new(),
            Tensors::Unknown(why) => format!(", tensors unknown: {why}"),
            Tensors::Named(names, 0) => format!(", tensors {}", names.join(", ")),
            Tensors::Named(names, more) => format!(", tensors {} and {more} more", names.join(", ")),
        };
        format!("{path} bytes {}..{}{tensors}", range.start, range.end)
    }));
    if *more_files > 0 {
        pieces.push(count(*more_files, "more file"));
    }
    pieces.join("; ")
}

/// For programs.
pub fn object_of(place: &Whereabouts) -> Value {
    let file = |hit: &Hit| {
        let tensors = match &hit.tensors {
            Tensors::None => Value::Null,
            Tensors::Unknown(why) => json!({ "unknown": why }),
            Tensors::Named(names, more) => json!({ "names": names, "more": more }),
        };
        json!({ "path": hit.path, "range": [hit.range.start, hit.range.end], "tensors": tensors })
    };
    json!({
        "stream": (place.stream != u32::MAX).then_some(place.stream),
        "segments": [place.segments.start, place.segments.end],
        "bytes": [place.bytes.start, place.bytes.end],
        "files": place.files.iter().map(file).collect::<Value>(),
        "more_files": place.more_files,
    })
}
