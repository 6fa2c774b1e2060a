use proptest::prelude::*;

use super::*;
use crate::{
    error::Kind,
    log::{Cosigner, tests::Fixture},
};

fn cosigner(fixture: &Fixture, name: &str) -> Cosigner {
    Cosigner::new(name.parse().expect("a name"), [(fixture.log.origin().clone(), fixture.judge())])
}

#[test]
fn a_witness_cosigns_what_continues_what_it_saw() {
    let fixture = Fixture::new();
    let witness = cosigner(&fixture, "w.example/1");
    let key = witness.verifier_key();
    let judge = fixture.judge().with_witnesses(vec![key.clone()], 1).expect("legal");
    for round in 0..4 {
        fixture.append(round * 100 + 1);
        let published = fixture.publish();
        let signed = fixture.log.ask(published.checkpoint.signed(), &key, &witness).expect("cosigned");
        assert!(fixture.log.latest(&judge).is_err() || round > 0, "the new one is not cosigned in the store yet");
        assert_eq!(fixture.log.store_cosigned(&judge, &signed).expect("stored"), None);
        let witnessed = fixture.log.latest(&judge).expect("counts").expect("there");
        assert_eq!((witnessed.signed(), witnessed.cosigners()), (&signed, &[key.name().clone()][..]));
        // The same once more is as good.
        fixture.log.ask(&signed, &key, &witness).expect("cosigned again");
    }
}

#[test]
fn a_witness_has_one_cosignature_on_a_checkpoint_however_often_it_answers() {
    #[derive(Debug)]
    struct Floods(Cosigner);
    impl Witness for Floods {
        fn add_checkpoint(&self, body: &[u8]) -> Result<Answer> {
            let size = Request::parse(body).expect("a request").checkpoint.checkpoint().size();
            let again = |mut request: Request| {
                request.old = size;
                request.proof.clear();
                self.0.answer(&request.to_vec()).body
            };
            let mut all = self.0.answer(body).body;
            for _ in 0..40 {
                all.extend(again(Request::parse(body).expect("a request")));
            }
            Ok(Answer { status: 200, body: all })
        }
    }
    let fixture = Fixture::new();
    fixture.append(2);
    let published = fixture.publish().checkpoint;
    let floods = Floods(cosigner(&fixture, "w.example/1"));
    let key = floods.0.verifier_key();
    let cosigned = fixture.log.ask(published.signed(), &key, &floods).expect("cosigned");
    assert_eq!(
        (cosigned.note().signatures().len(), cosigned.note().cosigned_at(&key).expect("good")),
        (2, Some(1_800_000_040))
    );
    // It is not asked again: nothing changes, and nothing new is stored.
    assert_eq!(fixture.log.ask(&cosigned, &key, &floods).expect("cosigned"), cosigned);
    let other = cosigner(&fixture, "w.example/2");
    let both = fixture.log.ask(&cosigned, &other.verifier_key(), &other).expect("cosigned");
    assert_eq!(both.note().signatures().len(), 3);
}

#[test]
fn what_was_seen_and_waits_for_witnesses_is_no_rollback() {
    let fixture = Fixture::new();
    let witness = cosigner(&fixture, "w.example/1");
    let key = witness.verifier_key();
    let judge = fixture.judge().with_witnesses(vec![key.clone()], 1).expect("legal");
    fixture.append(3);
    let cosigned = fixture.log.ask(fixture.publish().checkpoint.signed(), &key, &witness).expect("cosigned");
    fixture.log.store_cosigned(&judge, &cosigned).expect("stored");
    fixture.append(2);
    let five = fixture.publish().checkpoint;
    let waiting = fixture.log.latest_since(&judge, Some(five.checkpoint())).expect_err("not cosigned yet");
    assert!(waiting.to_string().contains("cosigned by too few"), "{waiting}");
    // A newer one that nobody cosigned must continue it all the same.
    let forked = fixture.forked(6);
    forked.publish();
    std::fs::copy(fixture.file("checkpoint"), forked.file("checkpoint")).expect("planted");
    let fork = forked.log.latest_since(&judge, Some(five.checkpoint())).expect_err("a fork");
    assert_ne!(fork.kind(), Kind::Stale, "{fork}");
    let older = fixture.forked(3);
    older.publish();
    assert_eq!(
        older.log.latest_since(&fixture.judge(), Some(five.checkpoint())).expect_err("gone").kind(),
        Kind::Stale
    );
}

#[test]
fn a_witness_that_saw_another_history_refuses_and_that_is_a_fork() {
    let (fixture, witness_key);
    let witness = {
        fixture = Fixture::new();
        cosigner(&fixture, "w")
    };
    witness_key = witness.verifier_key();
    fixture.append(3);
    let first = fixture.publish();
    fixture.log.ask(first.checkpoint.signed(), &witness_key, &witness).expect("cosigned");
    let forked = fixture.forked(5);
    let checkpoint = forked.publish_fork();
    let error = forked.log.ask(checkpoint.signed(), &witness_key, &witness).expect_err("a fork");
    assert!(error.to_string().contains("a fork"), "{error}");
    assert_eq!(error.kind(), Kind::Authenticity);
    // Shorter than what the witness saw.
    let shorter = fixture.forked(1);
    let checkpoint = shorter.publish_fork();
    assert_eq!(shorter.log.ask(checkpoint.signed(), &witness_key, &witness).expect_err("older").kind(), Kind::Stale);
}

#[test]
fn answers_that_are_none_are_refused() {
    #[derive(Debug)]
    struct Says(u16, Vec<u8>);
    impl Witness for Says {
        fn add_checkpoint(&self, _: &[u8]) -> Result<Answer> {
            Ok(Answer { status: self.0, body: self.1.clone() })
        }
    }
    let fixture = Fixture::new();
    fixture.append(2);
    let published = fixture.publish();
    let (honest, other) = (cosigner(&fixture, "w"), cosigner(&fixture, "w"));
    let key = honest.verifier_key();
    let strangers = other
        .answer(&Request { old: 0, proof: Vec::new(), checkpoint: published.checkpoint.signed().clone() }.to_vec());
    assert_eq!(strangers.status, 200);
    for (status, body, kind) in [
        (200, Vec::new(), Kind::Authenticity),
        (200, strangers.body, Kind::Authenticity),
        (200, b"junk\n".to_vec(), Kind::Integrity),
        (200, b"\xff".to_vec(), Kind::Integrity),
        (409, b"3\n".to_vec(), Kind::Stale),
        (409, b"1\n".to_vec(), Kind::Conflict),
        (409, b"03\n".to_vec(), Kind::Integrity),
        (409, b"3".to_vec(), Kind::Integrity),
        (400, Vec::new(), Kind::Integrity),
        (403, Vec::new(), Kind::Authenticity),
        (404, Vec::new(), Kind::NotFound),
        (422, Vec::new(), Kind::Authenticity),
        (503, Vec::new(), Kind::Operational),
    ] {
        let error = fixture.log.ask(published.checkpoint.signed(), &key, &Says(status, body)).expect_err("refused");
        assert_eq!(error.kind(), kind, "{status}: {error}");
    }
}

#[test]
fn the_fixture_answers_as_the_protocol_says() {
    let fixture = Fixture::new();
    fixture.append(2);
    let signed = fixture.publish().checkpoint.signed().clone();
    let witness = cosigner(&fixture, "w");
    let ask =
        |old, proof: Vec<TreeHash>| witness.answer(&Request { old, proof, checkpoint: signed.clone() }.to_vec()).status;
    assert_eq!(ask(3, Vec::new()), 400);
    assert_eq!(ask(1, Vec::new()), 409);
    assert_eq!(ask(0, vec![TreeHash::EMPTY]), 422);
    assert_eq!(ask(0, Vec::new()), 200);
    assert_eq!(
        witness.answer(&Request { old: 0, proof: Vec::new(), checkpoint: signed.clone() }.to_vec()).body,
        b"2\n"
    );
    assert_eq!(witness.answer(b"old 0\n").status, 400);
    let stranger = Fixture::new();
    stranger.append(1);
    let elsewhere = Request { old: 0, proof: Vec::new(), checkpoint: stranger.publish().checkpoint.signed().clone() };
    assert_eq!(witness.answer(&elsewhere.to_vec()).status, 404);
    let unsigned =
        String::from_utf8(Request { old: 2, proof: Vec::new(), checkpoint: signed }.to_vec()).expect("UTF-8");
    let broken = unsigned.replacen("\n2\n", "\n3\n", 1);
    assert_ne!(unsigned, broken);
    assert_eq!(witness.answer(broken.as_bytes()).status, 403);
}

proptest! {
    #[test]
    fn arbitrary_requests_never_panic(bytes: Vec<u8>) {
        prop_assert!(Request::parse(&bytes).is_err());
    }
}
