//! What one core does to one segment: the least that sealing, verifying and opening can cost.
#![forbid(unsafe_code)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vault_core::{
    aead::Engine,
    tree::{Layout, PAYLOAD, PartSize, SEGMENT, segment_value},
};

const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 12] = [9; 12];

fn bytes(len: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(len).collect()
}

fn engines(c: &mut Criterion) {
    for engine in [Engine::Fast, Engine::Reference] {
        let cipher = engine.cipher(&KEY);
        let mut group = c.benchmark_group(format!("aes-256-gcm {engine}"));
        group.throughput(Throughput::Bytes(PAYLOAD as u64));
        let mut plaintext = bytes(PAYLOAD);
        group.bench_function("seal a segment", |b| {
            b.iter(|| cipher.seal_in_place(&NONCE, b"aad", black_box(&mut plaintext)).expect("it seals"));
        });
        let tag = cipher.seal_in_place(&NONCE, b"aad", &mut plaintext).expect("it seals");
        let sealed = [&plaintext[..], &tag[..]].concat();
        let mut opened = vec![0; PAYLOAD];
        group.bench_function("open a segment", |b| {
            b.iter(|| assert!(cipher.open_into(&NONCE, b"aad", black_box(&sealed), &mut opened)));
        });
        group.finish();
    }
}

fn hash_and_copy(c: &mut Criterion) {
    let from = bytes(SEGMENT);
    let mut to = vec![0; SEGMENT];
    let layout = Layout::new(16 << 20, PartSize::DEFAULT).expect("16 full segments");
    let mut group = c.benchmark_group("bytes");
    group.throughput(Throughput::Bytes(SEGMENT as u64));
    group.bench_function("hash a segment", |b| b.iter(|| segment_value(&layout, 3, black_box(&from))));
    group.bench_function("copy a segment", |b| b.iter(|| to.copy_from_slice(black_box(&from))));
    group.finish();
}

criterion_group!(kernels, engines, hash_and_copy);
criterion_main!(kernels);
