//! What every backend must do, asked of real servers.

use vault_core::store::{Backend as _, Bucket, Connection, Created, conformance::CHECKS};
use vault_tests::{
    s3::Client,
    servers::{Moto, Seaweed},
};

use crate::{Desk, within};

/// Whether a server refuses what was signed too long ago, which taking over a collection rests on.
fn ends_what_was_signed(client: &Client) -> bool {
    let desk = Desk::on(vault_tests::Workspace::empty(), client);
    client.make_bucket(&desk.bucket);
    let connection = Connection { settings: desk.variables.clone(), ..Connection::default() };
    let bucket = Bucket::connect(&format!("s3://{}/below", desk.bucket), &connection).expect("connected");
    assert_eq!(bucket.create("trial", b"1").expect("created"), Created::New);
    bucket.expires("trial").expect(&client.address)
}

#[test]
fn servers_that_look_at_signatures_end_what_was_signed_in_time() {
    within(60, || {
        let Some(server) = Seaweed::shared() else { return };
        assert!(ends_what_was_signed(server.client()));
        let Some(server) = Moto::shared() else { return };
        assert!(!ends_what_was_signed(server.client()), "it cannot be tried there");
    });
}

fn conforms(client: &Client) {
    for (name, check) in CHECKS {
        let desk = Desk::on(vault_tests::Workspace::empty(), client);
        client.make_bucket(&desk.bucket);
        let connection = Connection { settings: desk.variables.clone(), ..Connection::default() };
        let url = format!("s3://{}/below/{name}", desk.bucket);
        check(&Bucket::connect(&url, &connection).expect("connected"));
    }
}

#[test]
fn seaweed_does_what_every_backend_must() {
    within(120, || {
        let Some(server) = Seaweed::shared() else { return };
        conforms(server.client());
    });
}

#[test]
fn moto_does_what_every_backend_must() {
    within(120, || {
        let Some(server) = Moto::shared() else { return };
        conforms(server.client());
    });
}
