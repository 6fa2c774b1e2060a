//! How a witness is asked: by HTTP, as <https://c2sp.org/tlog-witness> says.

use std::{io, str::FromStr, time::Duration};

use vault_core::{
    Error,
    log::{Answer, MAX_ANSWER, SignatureType, VerifierKey, Witness},
};

/// How long a witness may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A witness at a URL.
#[derive(Debug, Clone)]
pub struct HttpWitness {
    key: VerifierKey,
    url: reqwest::Url,
}

impl HttpWitness {
    /// The key by which its cosignatures are known.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    async fn post(&self, body: Vec<u8>) -> Result<Answer, reqwest::Error> {
        // Redirects are not part of the protocol.
        let client =
            reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
        let mut response = client.post(self.url.clone()).body(body).send().await?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > MAX_ANSWER {
                body.clear();
                break;
            }
        }
        Ok(Answer { status, body })
    }
}

impl Witness for HttpWitness {
    fn add_checkpoint(&self, body: &[u8]) -> vault_core::Result<Answer> {
        let failed = |error: io::Error| Error::storage(&self.url)(error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(self.post(body.to_vec())).map_err(|error| failed(io::Error::other(error.without_url())))
    }
}

impl FromStr for HttpWitness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, url) = text.split_once(' ').ok_or("is not a key, a space and a URL")?;
        let key: VerifierKey = key.parse().map_err(|error: Error| error.to_string())?;
        if key.signature_type() != SignatureType::Cosignature {
            return Err("its key is that of a log, not of a witness".into());
        }
        // The prefix may have a path of its own, which ends in a slash or not.
        let prefix = url.trim().trim_end_matches('/');
        let url: reqwest::Url =
            format!("{prefix}/add-checkpoint").parse().map_err(|error| format!("{url:?}: {error}"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err("its URL is neither https:// nor http://".into());
        }
        Ok(Self { key, url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";

    #[test]
    fn a_witness_is_a_key_and_where_it_is_asked() {
        for (url, asked) in [
            ("https://w.example", "https://w.example/add-checkpoint"),
            ("https://w.example/a/", "https://w.example/a/add-checkpoint"),
            ("http://127.0.0.1:9", "http://127.0.0.1:9/add-checkpoint"),
        ] {
            assert_eq!(format!("{KEY} {url}").parse::<HttpWitness>().expect(url).url.as_str(), asked);
        }
        let log = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k https://w.example";
        for bad in ["", KEY, &format!("{KEY} w.example"), &format!("{KEY} ftp://w.example"), &format!("x {KEY}"), log] {
            assert!(bad.parse::<HttpWitness>().is_err(), "{bad}");
        }
    }
}
