//! Opens a whole artifact into memory, fully checked, and prints how many seconds that took: what a serving node waits for.
//!
//! `mvault-bench-open VAULT REF --identity KEY --signer PUB [--engine fast|reference] [--kernels]`
//!
//! With `--kernels` it prints, instead, the seconds that AES-256-GCM and BLAKE3 alone take for the same number of segments on
//! the same number of threads, each segment read from one warm buffer: the floor that no way of opening goes below.
#![forbid(unsafe_code)]

use std::{
    env,
    error::Error,
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use vault_core::{
    aead::Engine,
    floe::{Decryptor, Encryptor, Params},
    keys::{PrivateKey, PublicKey, file},
    open::{Opened, Options},
    store::{Connection, Store},
    tree::{Layout, PAYLOAD, PartSize, SEGMENT, segment_value},
    trust::Policy,
    vault::{Artifact, Vault},
    workers::Threads,
    wrap::Keyring,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Default)]
struct Arguments {
    positional: Vec<String>,
    identity: String,
    signer: String,
    engine: Engine,
    kernels: bool,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(seconds) => {
            #[expect(clippy::print_stdout, reason = "the figure is what this program is for")]
            {
                println!("{seconds:.6}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a program of its own")]
            {
                eprintln!("mvault-bench-open: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Outcome<Arguments> {
    let mut arguments = Arguments::default();
    let mut given = env::args().skip(1);
    while let Some(word) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--identity" => arguments.identity = value()?,
            "--signer" => arguments.signer = value()?,
            "--kernels" => arguments.kernels = true,
            "--engine" => {
                arguments.engine = match value()?.as_str() {
                    "fast" => Engine::Fast,
                    "reference" => Engine::Reference,
                    other => return Err(format!("no engine {other}").into()),
                }
            }
            _ => arguments.positional.push(word),
        }
    }
    if arguments.positional.len() != 2 {
        return Err("usage: mvault-bench-open VAULT REF --identity KEY --signer PUB".into());
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> Outcome<f64> {
    let [url, reference] = &arguments.positional[..] else { return Err("a vault and a reference".into()) };
    let PublicKey::Signing(signer) = PublicKey::from_pem(&file::read_public(Path::new(&arguments.signer))?)? else {
        return Err("the signer is not a signing key".into());
    };
    let private = file::read_private(Path::new(&arguments.identity))?;
    let mut no_passphrase = || Err(vault_core::Error::Misuse("the identity has a passphrase".into()));
    let PrivateKey::Identity(identity) = PrivateKey::from_pem(private.expose(), &mut no_passphrase)? else {
        return Err("the identity is a signing key".into());
    };
    let ring = Keyring { identities: vec![Box::new(identity)], passphrases: Vec::new() };
    let policy = Policy::any_of(vec![signer])?;
    let options = Options { engine: arguments.engine, ..Options::default() };

    let settings = env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect();
    let start = Instant::now();
    let reference = reference.parse()?;
    let vault = Vault::open_for(Store::open_url(url, &Connection { settings, ..Connection::default() })?, &reference)?;
    let artifact = vault.resolve(&reference, &policy)?;
    if arguments.kernels {
        return kernels(&artifact, arguments.engine);
    }
    let opened: Opened<'_> = vault.open_artifact(&artifact, &policy, &ring, options)?;
    let files = opened.index().files().iter().map(|file| opened.read(file, &()));
    let buffers = files.collect::<Result<Vec<_>, _>>()?;
    let seconds = start.elapsed().as_secs_f64();
    drop(buffers);
    Ok(seconds)
}

/// Hashes and decrypts one segment, from cache, as often as the artifact has segments.
fn kernels(artifact: &Artifact, engine: Engine) -> Outcome<f64> {
    let segments: u64 = artifact.manifest.streams.iter().map(|stream| stream.layout.segments()).sum();
    let params = Params::new(u32::try_from(SEGMENT)?)?;
    let encryptor = Encryptor::with_engine(&[7; 32], b"", params, engine)?;
    let decryptor = Decryptor::with_engine(&[7; 32], b"", encryptor.header(), params, engine)?;
    let segment = encryptor.encrypt_segment(0, false, &vec![7; PAYLOAD])?;
    let layout = Layout::new(16 << 20, PartSize::DEFAULT)?;
    let done = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..Threads::available().get() {
            scope.spawn(|| {
                let mut plaintext = vec![0; PAYLOAD];
                while done.fetch_add(1, Ordering::Relaxed) < segments {
                    std::hint::black_box(segment_value(&layout, 0, &segment));
                    let _ = decryptor.decrypt_segment_into(0, false, &segment, std::hint::black_box(&mut plaintext));
                }
            });
        }
    });
    Ok(start.elapsed().as_secs_f64())
}
