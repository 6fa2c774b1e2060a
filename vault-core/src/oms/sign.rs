//! Making a bundle.

use std::{fs, path::Path};

use super::{
    Bundle, Certificate, Claim, EcPrivateKey, MAX_CERTIFICATES, Material,
    certificate::Moment,
    hashing::{Algorithm, Opened, hash_all},
    model::{LEFT_OUT, covers, relative_to},
};
use crate::{
    error::{Error, Result},
    names::FilePath,
    provenance::{PAYLOAD_TYPE, pae},
    source::{Symlinks, files_below_where},
    workers::{Progress, Threads},
};

/// A key to sign with, and how verifiers come to believe it.
#[derive(Debug)]
pub struct Signer {
    key: EcPrivateKey,
    chain: Vec<Certificate>,
}

/// What to sign, and how.
#[derive(Debug)]
pub struct SignRequest<'a> {
    /// A folder, or one file.
    pub model: &'a Path,
    /// Who signs.
    pub signer: &'a Signer,
    /// Where the bundle will be: it signs everything but itself.
    pub output: Option<&'a Path>,
    /// What else is left out, relative to the model.
    pub ignore: &'a [FilePath],
    /// What to do about links.
    pub symlinks: Symlinks,
    /// How many threads work.
    pub threads: Threads,
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The model's name in the bundle.
    pub name: String,
    /// SHA-256 over all digests in order.
    pub root: [u8; 32],
    /// Number of files.
    pub files: usize,
    /// Their length together.
    pub bytes: u64,
    /// What is there and was not signed.
    pub left_out: Vec<String>,
}

impl Signer {
    /// A bare key.
    pub fn key(key: EcPrivateKey) -> Self {
        Self { key, chain: Vec::new() }
    }

    /// A key with its certificate, and the certificates above that one.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the certificate is not about this key or there are too many, [`Error::Untrusted`] if it may not
    /// sign, [`Error::Stale`] if it is not valid now.
    pub fn certified(key: EcPrivateKey, certificate: Certificate, above: Vec<Certificate>) -> Result<Self> {
        if certificate.public_key()? != *key.public() {
            return Err(Error::Misuse("the certificate is not about this key".into()));
        }
        certificate.check_may_sign()?;
        certificate.check_time(Moment::now())?;
        let chain: Vec<_> = std::iter::once(certificate).chain(above).collect();
        if chain.len() > MAX_CERTIFICATES {
            return Err(Error::Misuse(format!("a bundle has at most {MAX_CERTIFICATES} certificates")));
        }
        Ok(Self { key, chain })
    }

    /// The key.
    pub fn private_key(&self) -> &EcPrivateKey {
        &self.key
    }

    /// The certificate of the key, if it has one.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    fn material(&self) -> Material {
        if self.chain.is_empty() {
            return Material::Key(Some(self.key.public().hint()));
        }
        Material::Certificates(self.chain.iter().map(|certificate| certificate.as_der().to_vec()).collect())
    }

    fn sign(&self, claim: &Claim) -> Result<Bundle> {
        let payload = claim.to_vec()?;
        let message = pae(PAYLOAD_TYPE, &payload);
        let signature = self.key.sign(&message)?;
        // Whatever is wrong with key or engine, nothing is published that does not verify.
        if !self.key.public().verify(&message, &signature) {
            return Err(Error::Misuse("the key made a signature that does not verify".into()));
        }
        Bundle::new(&self.material(), &payload, &signature)
    }
}

/// Hashes and signs a model.
///
/// # Errors
/// [`Error::Misuse`] if it has no files, one is longer than 2 TiB, a link is in it that is not to be followed, leaves it, leads
/// nowhere or goes in circles, or a name is not portable; [`Error::InputChanged`] if a file changed meanwhile; [`Error::Storage`] if one cannot be read.
pub fn sign(request: &SignRequest<'_>, progress: &dyn Progress) -> Result<(Bundle, Receipt)> {
    let own =
        request.output.and_then(|output| relative_to(request.model, output)).and_then(|own| FilePath::new(&own).ok());
    let default = LEFT_OUT.into_iter().filter_map(|path| FilePath::new(path).ok());
    let mut ignored: Vec<FilePath> = default.chain(request.ignore.iter().cloned()).chain(own).collect();
    ignored.sort();
    ignored.dedup();

    let mut left_out = Vec::new();
    let mut keep = |path: &str| {
        let keep = !covers(ignored.iter().map(FilePath::as_str), path);
        if !keep {
            left_out.push(path.to_owned());
        }
        keep
    };
    let inputs = files_below_where(request.model, request.symlinks, &mut keep)?;
    left_out.sort();
    if inputs.is_empty() {
        return Err(Error::Misuse(format!("{} holds no files to sign", request.model.display())));
    }
    let opened = inputs.iter().map(|input| Opened::look(&input.data)).collect::<Result<Vec<_>>>()?;
    let hashed = hash_all(&opened, Algorithm::Sha256, None, request.threads, progress)?;

    let bytes = hashed.iter().map(|hashed| hashed.length).sum();
    let digests = hashed.into_iter().flat_map(|hashed| hashed.digests);
    let files = inputs.into_iter().map(|input| input.path).zip(digests);
    let follow = request.symlinks == Symlinks::FollowInside;
    let claim = Claim::of_files(model_name(request.model)?, files, ignored, follow);
    let bundle = request.signer.sign(&claim)?;
    let files = claim.files().len();
    Ok((bundle, Receipt { root: claim.root, files, name: claim.name, bytes, left_out }))
}

/// The last part of the path, whatever way leads there.
fn model_name(model: &Path) -> Result<String> {
    let real = fs::canonicalize(model).map_err(Error::storage(model.display()))?;
    let name = model.file_name().or(real.file_name()).unwrap_or_else(|| "model".as_ref());
    name.to_str().map(str::to_owned).ok_or_else(|| Error::Misuse(format!("{} is not UTF-8", model.display())))
}
