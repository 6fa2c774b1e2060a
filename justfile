# What continuous integration does, piece by piece.

default:
    @just --list

# Everything continuous integration runs.
ci:
    bash .ci/run

test:
    cargo test --workspace --locked

lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --locked
    cargo deny --locked check bans licenses sources

# Every fuzz target for `seconds` each; it runs on the stable toolchain.
fuzz seconds="60":
    bash fuzz/run {{seconds}}

# The kernels. For the comparison with other tools see benches/README.md.
bench:
    cargo bench -p vault-benches --locked
