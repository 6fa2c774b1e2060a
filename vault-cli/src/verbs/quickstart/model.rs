//! A made-up model of realistic shape: two safetensors shards, their index, a configuration and a tokenizer.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};
use vault_core::secret::fill_random;

use crate::failure::{Failure, Result};

const HIDDEN: u64 = 512;
const FEED_FORWARD: u64 = 1536;
const VOCABULARY: u64 = 8192;
const LAYERS: u64 = 6;
/// Bytes of one F16.
const ELEMENT: u64 = 2;
const WEIGHT_MAP: &str = "model.safetensors.index.json";

/// A tensor: its name and shape.
type Shape = (String, Vec<u64>);

/// Makes the folder and returns the length of its files together.
pub fn make(folder: &Path) -> Result<u64> {
    fs::create_dir_all(folder).map_err(|e| Failure::io(folder.display(), &e))?;
    let shards = shards();
    let count = shards.len();
    let (mut total, mut weight_map) = (0, Map::new());
    for (number, tensors) in (1..).zip(&shards) {
        let name = format!("model-{number:05}-of-{count:05}.safetensors");
        total += write(folder, &name, &safetensors(tensors)?)?;
        weight_map.extend(tensors.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
    }
    let size: u64 = shards.iter().flatten().map(|(_, shape)| length(shape)).sum();
    let map = json!({ "metadata": { "total_size": size }, "weight_map": weight_map });
    for (name, document) in [("config.json", configuration()), ("tokenizer.json", tokenizer()), (WEIGHT_MAP, map)] {
        total += write(folder, name, format!("{document:#}\n").as_bytes())?;
    }
    Ok(total)
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<u64> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(|e| Failure::io(path.display(), &e))?;
    Ok(bytes.len() as u64)
}

fn shards() -> [Vec<Shape>; 2] {
    let (h, f) = (HIDDEN, FEED_FORWARD);
    let embedding = ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, h]);
    let layer = |number: u64| {
        [
            ("input_layernorm", vec![h]),
            ("mlp.down_proj", vec![h, f]),
            ("mlp.gate_proj", vec![f, h]),
            ("mlp.up_proj", vec![f, h]),
            ("post_attention_layernorm", vec![h]),
            ("self_attn.k_proj", vec![h, h]),
            ("self_attn.o_proj", vec![h, h]),
            ("self_attn.q_proj", vec![h, h]),
            ("self_attn.v_proj", vec![h, h]),
        ]
        .map(|(name, shape)| (format!("model.layers.{number}.{name}.weight"), shape))
    };
    let middle = LAYERS / 2;
    let first = [embedding].into_iter().chain((0..middle).flat_map(layer)).collect();
    let mut second: Vec<_> = (middle..LAYERS).flat_map(layer).collect();
    second.push(("model.norm.weight".into(), vec![h]));
    [first, second]
}

fn length(shape: &[u64]) -> u64 {
    shape.iter().product::<u64>() * ELEMENT
}

fn safetensors(tensors: &[Shape]) -> Result<Vec<u8>> {
    let (mut header, mut end) = (Map::new(), 0);
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    for (name, shape) in tensors {
        let start = end;
        end += length(shape);
        let tensor = json!({ "dtype": "F16", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), tensor);
    }
    let mut header = Value::Object(header).to_string();
    // Tensors begin at a multiple of eight, as the format recommends.
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    let start = file.len();
    file.resize(start + usize::try_from(end).map_err(|_| Failure::operational("too little memory"))?, 0);
    fill_random(&mut file[start..])?;
    file[start..].chunks_exact_mut(2).for_each(|pair| pair[1] = small(pair[1]));
    Ok(file)
}

/// The high byte of an F16 between 2^-7 and 2^-3 in magnitude, as trained weights are.
fn small(high: u8) -> u8 {
    let (sign, exponent, mantissa) = (high & 0x80, 8 + (high >> 2 & 3), high & 3);
    sign | exponent << 2 | mantissa
}

fn configuration() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "model_type": "llama",
        "num_attention_heads": 8,
        "num_hidden_layers": LAYERS,
        "tie_word_embeddings": true,
        "torch_dtype": "float16",
        "vocab_size": VOCABULARY,
    })
}

fn tokenizer() -> Value {
    let vocabulary: Map<String, Value> = (0..VOCABULARY).map(|id| (format!("<{id:04x}>"), json!(id))).collect();
    json!({ "version": "1.0", "model": { "type": "BPE", "vocab": vocabulary, "merges": [] } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_shards_are_strictly_valid_and_about_48_megabytes_together() {
        let mut total = 0;
        for tensors in shards() {
            let file = safetensors(&tensors).expect("randomness");
            let header = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
            let data = file.len() as u64 - 8 - header;
            let end = 8 + usize::try_from(header).expect("short");
            let parsed = vault_core::safetensors::parse(&file[8..end], data).expect("valid");
            assert_eq!(parsed.len(), tensors.len());
            total += file.len();
        }
        assert!((40 << 20..56 << 20).contains(&total), "{total}");
    }
}
