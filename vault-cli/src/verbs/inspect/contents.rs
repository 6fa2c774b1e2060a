//! The files of an artifact and their tensors, printed while they are read: a tensor table may be a hundred megabytes.

use serde_json::{Value, json};
use vault_core::{
    Error,
    error::Place,
    index::File,
    manifest::Manifest,
    open::Opened,
    safetensors::{self, Tensor},
};

use crate::{
    failure::Result,
    ui::{Piecewise, Style, Ui, bytes, one_line, table},
};

/// Tensors of which the columns are aligned with each other.
const ROWS: usize = 4096;

/// Prints `outside` and then every file. After an error what was read so far is printed, in JSON a whole object.
pub fn print(outside: (&str, &Value), (opened, manifest): (&Opened<'_>, &Manifest), ui: &Ui) -> Result {
    let mut out = ui.piecewise();
    match ui.style() {
        Style::Json => {
            let object = outside.1.to_string();
            out.json(&format!("{},\"files\":[", object.strip_suffix('}').unwrap_or(&object)))?;
            let mut separator = "";
            let result = opened.index().files().iter().try_for_each(|file| {
                let tensors = tensors(opened, file)?;
                out.json(std::mem::replace(&mut separator, ","))?;
                object_of((file, manifest), tensors.as_ref(), &mut out)
            });
            out.json("]}")?;
            out.end_line()?;
            out.finish().and(result)
        }
        Style::Text | Style::Quiet => {
            out.text(&format!("{}\nfiles:\n", outside.0))?;
            let mut files = opened.index().files().iter();
            let result =
                files.try_for_each(|file| text_of((file, manifest), tensors(opened, file)?.as_ref(), &mut out));
            out.finish().and(result)
        }
    }
}

/// How much of a file is in streams of earlier artifacts.
fn reused(file: &File, manifest: &Manifest) -> u64 {
    let is_reused = |number| manifest.stream(number).is_some_and(|stream| stream.origin.is_some());
    file.extents.iter().filter(|extent| is_reused(extent.stream)).map(|extent| extent.length).sum()
}

/// The tensors of a file, or what is wrong with its header, if it is to have one.
type Tensors = Option<Result<Vec<Tensor>, String>>;

fn tensors(opened: &Opened<'_>, file: &File) -> Result<Tensors> {
    if !file.path.as_str().ends_with(".safetensors") {
        return Ok(None);
    }
    match safetensors::read(opened, file) {
        Ok(tensors) => Ok(Some(Ok(tensors))),
        // A header that makes no sense is the file's fault; sealed bytes that differ are the vault's.
        Err(error @ Error::Corrupt { place: Place::Document(safetensors::DOCUMENT), .. }) => {
            Ok(Some(Err(error.to_string())))
        }
        Err(error) => Err(error.into()),
    }
}

fn text_of(
    (file, manifest): (&File, &Manifest),
    tensors: Option<&Result<Vec<Tensor>, String>>,
    out: &mut Piecewise<'_>,
) -> Result {
    let executable = if file.executable { ", executable" } else { "" };
    let sha256 = file.sha256.map(|digest| format!(", sha256 {}", hex::encode(digest))).unwrap_or_default();
    let reused = Some(reused(file, manifest)).filter(|length| *length > 0);
    let reused = reused.map(|length| format!(", {} reused", bytes(length))).unwrap_or_default();
    out.text(&format!("  {}  {}{executable}{sha256}{reused}\n", file.path, bytes(file.size)))?;
    match tensors {
        None => Ok(()),
        Some(Err(fault)) => out.text(&format!("    {}\n", one_line(fault))),
        Some(Ok(tensors)) => tensors.chunks(ROWS).try_for_each(|tensors| {
            let row = |t: &Tensor| {
                vec![format!("    {}", t.name), t.dtype.as_str().into(), format!("{:?}", t.shape), bytes(t.length)]
            };
            out.text(&table(&tensors.iter().map(row).collect::<Vec<_>>()))
        }),
    }
}

fn object_of(
    (file, manifest): (&File, &Manifest),
    tensors: Option<&Result<Vec<Tensor>, String>>,
    out: &mut Piecewise<'_>,
) -> Result {
    let mut object = json!({
        "path": file.path.as_str(),
        "bytes": file.size,
        "executable": file.executable,
        "sha256": file.sha256.map(hex::encode),
        "reused_bytes": reused(file, manifest),
    });
    let tensors = match tensors {
        Some(Ok(tensors)) => tensors,
        Some(Err(fault)) => {
            object["tensors_error"] = json!(fault);
            return out.json(&object.to_string());
        }
        None => return out.json(&object.to_string()),
    };
    let object = object.to_string();
    out.json(&format!("{},\"tensors\":[", object.strip_suffix('}').unwrap_or(&object)))?;
    let mut separator = "";
    for t in tensors {
        let tensor = json!({ "name": t.name, "dtype": t.dtype.as_str(), "shape": t.shape, "bytes": t.length });
        out.json(&format!("{}{tensor}", std::mem::replace(&mut separator, ",")))?;
    }
    out.json("]}")
}
