//! Buckets behind TLS whose certificate an authority of one's own signed.

use std::{
    io::{self, BufReader, Write as _},
    net::TcpListener,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use vault_tests::{
    servers::Seaweed,
    wire::{Message, exchange},
};

use crate::{Desk, refused, within};

const PATIENCE: Duration = Duration::from_secs(30);

/// What speaks TLS in front of a server on loopback.
struct Front {
    address: String,
    /// Who signed its certificate.
    authority: String,
}

impl Front {
    fn before(upstream: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);

        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        let private = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .expect("they belong together");

        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let (config, upstream) = (Arc::new(config), upstream.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, upstream) = (Arc::clone(&config), upstream.clone());
                // A connection that breaks is the client's business.
                thread::spawn(move || {
                    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                    serve(StreamOwned::new(connection, stream), &upstream)
                });
            }
        });
        Self { address: format!("https://localhost:{port}"), authority }
    }
}

fn serve(stream: StreamOwned<ServerConnection, std::net::TcpStream>, upstream: &str) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = Message::read_request(&mut reader, || Ok(()))? {
        let mut answer = exchange(upstream, &request, PATIENCE)?;
        for name in ["connection", "transfer-encoding", "keep-alive"] {
            answer.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        }
        if request.method() != "HEAD" && answer.status() != 204 {
            answer.set("Content-Length", &answer.body.len().to_string());
        }
        reader.get_mut().write_all(&answer.bytes())?;
        reader.get_mut().flush()?;
    }
    Ok(())
}

#[test]
fn an_authority_of_ones_own_is_believed_if_it_is_named_and_not_otherwise() {
    within(90, || {
        let Some(server) = Seaweed::shared() else { return };
        let mut desk = Desk::new(server.client());
        desk.work.write("model/weights", b"weights");
        desk.seal("model", "m:1").ok();
        let front = Front::before(&server.client().address);
        desk.work.write("authority.pem", front.authority.as_bytes());
        desk.work.write("other.pem", Front::before("127.0.0.1:1").authority.as_bytes());
        desk.variables.retain(|(name, _)| name != "AWS_ENDPOINT_URL");
        desk.variables.push(("AWS_ENDPOINT_URL".to_owned(), front.address));
        let own = desk.variables.clone();
        let with = |bundle: &str| [&own[..], &[("AWS_CA_BUNDLE".to_owned(), bundle.to_owned())]].concat();

        for variables in [own.clone(), with("other.pem")] {
            desk.variables = variables;
            let begun = Instant::now();
            let message = refused(desk.verify("m:1"), 1, "operational");
            assert!(message.contains("certificate") && message.contains("AWS_CA_BUNDLE"), "{message}");
            assert!(begun.elapsed() < Duration::from_secs(10), "no certificate is believed a moment later");
        }
        desk.variables = with("authority.pem");
        desk.opens_to("m:1", "model");
        desk.seal("model", "m:2").ok();
        desk.variables = with("absent.pem");
        let message = refused(desk.verify("m:1"), 1, "operational");
        assert!(message.contains("AWS_CA_BUNDLE absent.pem"), "{message}");
    });
}
