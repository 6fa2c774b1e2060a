use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::{journal::Records, tree::PartSize};

const NAME: &str = "m:1";

fn start() -> Start {
    let name: VersionName = NAME.parse().expect("a name");
    let subject = Subject { vault: "v", name: &name, source: "s" };
    Start::new(subject, PartSize::new(8 << 20).expect("legal"), 7).expect("randomness")
}

fn stream(length: u64) -> KeptStream {
    KeptStream { path: [1; 32], length, header: Header::from_bytes([2; 74]), parts: BTreeMap::new() }
}

fn segments(count: usize) -> Segments {
    vec![([3; 32], [4; 32]); count]
}

fn read(records: &[Vec<u8>]) -> Result<Option<History>> {
    record::read(records.iter().map(Vec::as_slice)).map(|read| read.map(|(_, history)| history))
}

fn refused(records: &[Vec<u8>]) -> String {
    read(records).expect_err("refused").to_string()
}

#[test]
fn what_is_noted_is_read_back() {
    let start = start();
    let first = start.to_record().to_vec();
    assert!(read(&[]).expect("nothing").is_none());
    let (again, _) = record::read([&first[..]].into_iter()).expect("legal").expect("there");
    assert_eq!((again.created, again.artifact_id, again.subject), (7, start.artifact_id, start.subject));
    assert_eq!(again.dek.secret().expose(), start.dek.secret().expose());
    // 9 full segments and one byte: a part of eight and one of two.
    let length = 9 * crate::tree::PAYLOAD as u64 + 1;
    let records = [
        first,
        record::stream(0, &stream(length)),
        record::part(0, 1, &segments(2)),
        record::run(8),
        record::part(0, 0, &segments(8)),
        record::part(0, 0, &segments(8)),
        record::stream(5, &stream(1)),
        record::stream(5, &stream(2)),
    ];
    let records = [&records[..], &[record::audience(&[7; 32]), record::audience(&[7; 32])]].concat();
    let history = read(&records).expect("legal").expect("there");
    assert_eq!(history.audiences, BTreeSet::from([[7; 32]]));
    assert_eq!((history.runs, history.streams.len()), (1, 1), "a stream without a part is as good as none");
    assert_eq!(history.streams[&0].parts.len(), 2);
}

#[test]
fn every_rule_of_a_session_is_checked() {
    let first = start().to_record().to_vec();
    let length = 9 * crate::tree::PAYLOAD as u64;
    let with = |records: &[Vec<u8>]| refused(&[&[first.clone(), record::stream(0, &stream(length))], records].concat());
    let mut wrong_name = record::part(0, 1, &segments(1));
    wrong_name[13] ^= 1;
    let part = || record::part(0, 1, &segments(1));
    for (found, rule) in [
        (refused(&[record::run(1)]), "does not begin with a start"),
        (refused(&[first[..first.len() - 1].to_vec()]), "too short"),
        (refused(&[[&first[..], b"x"].concat()]), "too long"),
        (with(std::slice::from_ref(&first)), "unknown kind"),
        (with(&[vec![9]]), "unknown kind"),
        (with(&[Vec::new()]), "unknown kind"),
        (with(&[record::part(1, 0, &segments(8))]), "a part of no stream"),
        (with(&[record::part(0, 2, &segments(1))]), "a part that cannot be"),
        (with(&[record::part(0, u64::MAX, &segments(1))]), "a part that cannot be"),
        (with(&[record::part(0, 0, &segments(7))]), "a part that cannot be"),
        (with(&[record::part(0, 1, &Vec::new())]), "a part that cannot be"),
        (with(&[wrong_name]), "a part that cannot be"),
        (with(&[part(), record::stream(0, &stream(length))]), "a stream twice"),
        (with(&[record::stream(1, &stream(0))]), "a stream that cannot be"),
        (with(&[record::stream(1, &stream(u64::MAX))]), "a stream that cannot be"),
        (with(&[record::stream(100_000, &stream(1))]), "a stream that cannot be"),
        (with(&[vec![5; 32]]), "too short"),
        (with(&[vec![5; 34]]), "too long"),
        (with(&vec![record::run(1); 65]), "gone on with too often"),
    ] {
        assert!(found.starts_with("resume file: ") && found.contains(rule), "{found}: {rule}");
    }
    let mut odd = first;
    odd[1 + 8 + 3 * 32] ^= 1;
    assert!(refused(&[odd]).contains("part size"));
}

#[test]
fn a_full_journal_notes_no_part_without_its_stream() {
    let pending = |number: u32, part: u64| keeper::Pending {
        number,
        part,
        segments: segments(if part == 0 { 8 } else { 1 }),
        stream: stream(9 * crate::tree::PAYLOAD as u64),
    };
    let dir = tempfile::tempdir().expect("folder");
    let first = start().to_record();
    let noted = |cap: u64| {
        let path = dir.path().join(cap.to_string());
        let mut options = std::fs::File::options();
        let file = options.create_new(true).read(true).write(true).open(&path).expect("made");
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("mode");
        let (mut journal, _) = crate::journal::Journal::take(file, "j".into(), file::MAGIC, cap).expect("taken");
        assert!(journal.append(&first).expect("room"));
        let mut keeper = Keeper::new(journal, BTreeSet::new());
        // A last part is shorter than the record of its stream, and may find room after that did not.
        keeper.append(&[pending(0, 0)]).expect("appended");
        keeper.append(&[pending(1, 0), pending(1, 1)]).expect("appended");
        keeper.append(&[pending(1, 1)]).expect("appended");
        keeper.demand(&record::run(1)).expect("room is kept for what must be written");
        let bytes = std::fs::read(&path).expect("read");
        Summary::parse(&bytes).expect("can be read again").expect("begun").parts
    };
    let least = (file::MAGIC.len() + first.len() + 20) as u64 + file::RESERVE;
    let found: BTreeSet<_> = (least..least + 2000).step_by(5).map(noted).collect();
    assert_eq!(found, BTreeSet::from([0, 1, 2, 3]));
}

#[test]
fn an_audience_is_the_same_in_any_order_and_another_with_anybody_more_or_less() {
    use crate::{
        keys::{Identity, RecipientKind},
        secret::SecretVec,
        wrap::Audience,
    };
    let dir = tempfile::tempdir().expect("folder");
    let (path, name): (_, VersionName) = (dir.path().join("session"), NAME.parse().expect("a name"));
    let subject = Subject { vault: "v", name: &name, source: "s" };
    let open = || Session::open(&path, subject, Options::default(), (0, DEFAULT_AGE)).expect("opened");
    let keys: Vec<_> =
        (0..3).map(|_| Identity::generate(RecipientKind::X25519).expect("key").recipient().clone()).collect();
    let audience = |keys: &[&crate::keys::Recipient], phrases: &[&str]| Audience {
        recipients: keys.iter().copied().cloned().collect(),
        passphrases: phrases.iter().map(|phrase| SecretVec::new(phrase.as_bytes().to_vec())).collect(),
    };
    let (a, b, c) = (&keys[0], &keys[1], &keys[2]);
    let first = audience(&[a, b], &["correct horse"]);
    let session = open();
    assert!(!session.is_for_others(&first).expect("asked"), "nothing was wrapped yet");
    session.note_audience(&first).expect("noted");
    drop(session);
    let session = open();
    assert!(!session.is_for_others(&audience(&[b, a, b], &["correct horse"])).expect("asked"));
    for other in [
        audience(&[a], &["correct horse"]),
        audience(&[a, b], &[]),
        audience(&[a, b], &["wrong horse"]),
        audience(&[a, b, c], &["correct horse"]),
    ] {
        assert!(session.is_for_others(&other).expect("asked"));
    }
    session.end().expect("ended");
}

#[test]
fn debug_output_shows_no_key() {
    let dir = tempfile::tempdir().expect("folder");
    let name: VersionName = NAME.parse().expect("a name");
    let subject = Subject { vault: "v", name: &name, source: "s" };
    let path = dir.path().join("session");
    let session = Session::open(&path, subject, Options::default(), (0, DEFAULT_AGE)).expect("begun");
    let shown = format!("{session:?}");
    assert!(shown.starts_with("Session { path: ") && shown.ends_with(", streams: 0, .. }"), "{shown}");
    session.end().expect("ended");
    assert!(!path.exists());
    Session::discard(&path).expect("nothing there is nothing to do");
}

#[test]
fn a_link_or_a_pipe_is_no_session() {
    let dir = tempfile::tempdir().expect("folder");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).expect("link");
    assert!(file::open(&link).is_err());
    assert!(!dir.path().join("elsewhere").exists());
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().expect("runs").success());
    assert!(file::open(&pipe).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0usize..2000) {
        let _ = Summary::parse(&bytes);
        let with_magic = [file::MAGIC, &bytes].concat();
        let _ = Summary::parse(&with_magic);
        let _ = Summary::parse(&with_magic[..cut.min(with_magic.len())]);
        // Behind good checksums, where malice would be.
        let records = [start().to_record().to_vec(), bytes];
        let _ = read(&records);
        let _ = Records::parse(b"", Zeroizing::new(records.concat()));
    }
}
