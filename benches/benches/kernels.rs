//! What one core does to one segment: the least that sealing, verifying and opening can cost.
#![forbid(unsafe_code)]

use std::hint::black_box;

use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// The encrypted length of a full segment.
const SEGMENT: usize = 1 << 20;
const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; NONCE_LEN] = [9; NONCE_LEN];

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key(NONCE)
}

fn segment() -> Vec<u8> {
    (0..=u8::MAX).cycle().take(SEGMENT).collect()
}

fn aws_lc(c: &mut Criterion) {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).expect("a key of 32 bytes"));
    let mut group = c.benchmark_group("aes-256-gcm aws-lc-rs");
    group.throughput(Throughput::Bytes(SEGMENT as u64));
    let mut sealed = segment();
    group.bench_function("seal 1 MiB", |b| {
        b.iter(|| key.seal_in_place_separate_tag(nonce(), Aad::empty(), black_box(&mut sealed)).expect("it seals"));
    });
    let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut sealed).expect("it seals");
    let mut opened = vec![0; SEGMENT];
    group.bench_function("open 1 MiB", |b| {
        b.iter(|| {
            key.open_separate_gather(nonce(), Aad::empty(), black_box(&sealed), tag.as_ref(), &mut opened)
                .expect("it opens");
        });
    });
    group.finish();
}

fn rust_crypto(c: &mut Criterion) {
    let key = Aes256Gcm::new(&KEY.into());
    let mut group = c.benchmark_group("aes-256-gcm RustCrypto");
    group.throughput(Throughput::Bytes(SEGMENT as u64));
    let mut sealed = segment();
    group.bench_function("seal 1 MiB", |b| {
        b.iter(|| {
            key.encrypt_inout_detached(&NONCE.into(), b"", black_box(sealed.as_mut_slice()).into()).expect("it seals")
        });
    });
    let tag = key.encrypt_inout_detached(&NONCE.into(), b"", sealed.as_mut_slice().into()).expect("it seals");
    let mut opened = vec![0; SEGMENT];
    group.bench_function("open 1 MiB", |b| {
        b.iter(|| {
            let buffers = InOutBuf::new(black_box(&sealed), &mut opened).expect("buffers of one length");
            key.decrypt_inout_detached(&NONCE.into(), b"", buffers, &tag).expect("it opens");
        });
    });
    group.finish();
}

fn hash_and_copy(c: &mut Criterion) {
    let from = segment();
    let mut to = vec![0; SEGMENT];
    let mut group = c.benchmark_group("bytes");
    group.throughput(Throughput::Bytes(SEGMENT as u64));
    group.bench_function("blake3 1 MiB", |b| b.iter(|| blake3::hash(black_box(&from))));
    group.bench_function("memcpy 1 MiB", |b| b.iter(|| to.copy_from_slice(black_box(&from))));
    group.finish();
}

criterion_group!(kernels, aws_lc, rust_crypto, hash_and_copy);
criterion_main!(kernels);
