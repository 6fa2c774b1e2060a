//! Retiring and collecting where a trust root says who may and what channels point to.

use std::time::{Duration, SystemTime};

use super::*;
use crate::{
    names::Reference,
    parts::object_path,
    provenance::{Envelope, Shredding, Statement, VersionRecord},
    vault::{
        Artifact, Collected, Collection, Fate, History, InUse, Keep, Mode, manifest_path, seal::sign, version_path,
    },
};

const COLLECTION: Collection = Collection { grace: Duration::from_hours(48), mode: Mode::Collect };

impl World {
    fn retire(&self, version: &str, by: &str, in_use: InUse) -> Result<()> {
        self.gate()?.retire(&version.parse()?, "old", in_use, &self.keys[by]).map(drop)
    }

    /// Makes everything in the vault look as if it had been there for weeks.
    fn age(&self) {
        let long_ago = SystemTime::now() - Duration::from_hours(1000);
        for path in self.fixture.objects() {
            let file = fs::File::options().write(true).open(path).expect("there");
            file.set_modified(long_ago).expect("aged");
        }
    }

    fn collect(&self) -> Result<Collected> {
        self.age();
        self.gate()?.collect_garbage(COLLECTION, &(), &mut |_| Ok(()))
    }

    fn is_collected(&self, version: &str) -> bool {
        match self.open(version) {
            Ok(_) => false,
            Err(Error::Gone { .. }) => true,
            Err(error) => panic!("{version}: {error}"),
        }
    }
}

#[test]
fn what_a_channel_points_to_is_not_retired_and_not_collected() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    let in_use = world.retire("m:2", "trainer", InUse::Refuse).expect_err("production");
    assert!(matches!(&in_use, Error::InUse { .. }) && in_use.to_string().contains("m@production"), "{in_use}");
    for nobody in ["mallory", "scanner", "clock"] {
        assert_eq!(kind(world.retire("m:3", nobody, InUse::Refuse)), Kind::Authenticity, "{nobody}");
    }
    world.retire("m:3", "trainer", InUse::Refuse).expect("no channel points to it");
    world.retire("m:1", "alice", InUse::Refuse).expect("production moved on");
    assert!(!world.is_collected("m:3"));

    // Without the trust root nobody can tell which promotion is in force: what a channel pointed to stays.
    world.age();
    let people = ["trainer", "alice"].map(|name| world.public(name)).to_vec();
    let policy = Policy::any_of(people).expect("keys");
    world.fixture.vault.collect_garbage(Some(&policy), COLLECTION, &(), &mut |_| Ok(())).expect("collected");
    assert!(world.is_collected("m:3") && !world.is_collected("m:1"));
    let refused = world.fixture.vault.retire(
        &"m:1".parse().expect("a name"),
        "old",
        &policy,
        InUse::Refuse,
        &world.keys["alice"],
    );
    assert!(matches!(refused, Err(Error::InUse { .. })), "{refused:?}");

    world.collect().expect("collected");
    assert!(world.is_collected("m:1"));
    assert_eq!(world.open("m@production").expect("production"), b"m:2");
    assert!(
        world.gate().expect("gate").channel_log(&"m@production".parse().expect("a channel")).expect("read").1.is_none()
    );

    world.retire("m:2", "bob", InUse::Allow).expect("somebody insists");
    world.collect().expect("collected");
    assert_eq!(world.open("m@production").expect("what is in force is kept all the same"), b"m:2");
}

#[test]
fn a_retired_version_is_not_promoted_also_not_by_a_proposal_from_before() {
    let world = World::new();
    let proposal = world.promote("m:3", "production", "trainer").expect("proposed");
    world.retire("m:3", "trainer", InUse::Refuse).expect("only proposed");
    world.collect().expect("collected");
    assert!(!world.is_collected("m:3"), "an open proposal keeps it");
    world.approve(&proposal, "alice").expect_err("retired");
    let late = world.promote("m:3", "staging", "alice").expect_err("retired");
    assert!(matches!(late, Error::Gone { .. }), "{late}");
}

#[test]
fn junk_above_the_promotion_in_force_does_not_take_its_protection() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    world.retire("m:1", "alice", InUse::Refuse).expect("retired");
    // Somebody who may create objects claims that production moved back, and on.
    let folder = world.path("models/m/channels/production");
    fs::copy(folder.join("1.dsse.json"), folder.join("3.dsse.json")).expect("copied");
    fs::write(folder.join("4.dsse.json"), b"{}").expect("written");
    world.collect().expect("collected");
    assert_eq!(world.open("m@production").expect("production"), b"m:2");
    assert!(world.is_collected("m:1"), "a promotion under a number that is not its own points nowhere");
}

#[test]
fn a_version_that_nobody_believes_and_that_names_nothing_keeps_nothing() {
    let world = World::new();
    let litter = object_path(&blake3::hash(b"litter"));
    let forge = |by: &str| {
        let record = VersionRecord::new(&"m:9".parse()?, Some(world.pinned.origin()))?;
        let subject = Subject::of(b"no manifest");
        let bytes = sign(subject, record, &world.keys[by])?;
        fs::write(world.path("models/m/versions/9.dsse.json"), bytes).expect("planted");
        let litter = world.path(&litter);
        fs::create_dir_all(litter.parent().expect("a folder")).expect("folder");
        fs::write(litter, b"litter").expect("planted");
        world.age();
        Ok::<_, Error>(())
    };
    let is_kept = || world.path(&litter).exists();
    forge("mallory").expect("planted");
    let junk = world.collect().expect("collected");
    assert_eq!((junk.unreadable, is_kept()), (0, false), "junk, for whoever goes by the trust root");
    forge("trainer").expect("planted");
    let counts = world.collect().expect("collected");
    assert_eq!((counts.unreadable, is_kept()), (1, true), "this one counts, and what it names is missing");
    forge("mallory").expect("planted");
    let policy = Policy::any_of(vec![world.public("trainer")]).expect("keys");
    let nobody_knows = world.fixture.vault.collect_garbage(Some(&policy), COLLECTION, &(), &mut |_| Ok(()));
    assert_eq!((nobody_knows.expect("collected").unreadable, is_kept()), (1, true), "somebody else may believe it");
}

#[test]
fn a_version_that_nobody_believes_hides_no_damage_from_one_that_counts() {
    let world = World::new();
    let genuine = fs::read(world.path("models/m/versions/1.dsse.json")).expect("there");
    let envelope = Envelope::parse_record(&genuine).expect("a record");
    let subject = Statement::<VersionRecord>::parse(envelope.payload()).expect("a statement").subject;
    // It is looked at first, and names the same.
    let record = VersionRecord::new(&"a:1".parse().expect("a name"), Some(world.pinned.origin())).expect("legal");
    let bytes = sign(subject, record, &world.keys["mallory"]).expect("signed");
    fs::create_dir_all(world.path("models/a/versions")).expect("folder");
    fs::write(world.path("models/a/versions/1.dsse.json"), bytes).expect("planted");
    fs::write(world.path(&manifest_path(subject.blake3)), b"{}").expect("damaged");
    world.age();
    let contents = || {
        let all = world.fixture.objects().into_iter();
        all.filter(|path| path.components().any(|part| part.as_os_str() == "objects")).count()
    };
    let before = contents();
    assert_eq!(world.collect().expect("collected").unreadable, 1);
    assert_eq!(contents(), before);
}

#[test]
fn a_rule_keeps_what_is_in_force_and_history_unless_told_otherwise() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    let rule = |last, hours, history| Keep {
        models: "m".parse().expect("a pattern"),
        last,
        younger_than: Duration::from_hours(hours),
        history,
    };
    let fates = |keep: &Keep| {
        let mut judged = world.gate().expect("gate").judge(keep).expect("judged");
        judged.sort_by(|a, b| a.name.cmp(&b.name));
        judged.into_iter().map(|judged| judged.fate).collect::<Vec<_>>()
    };
    let production: ChannelName = "m@production".parse().expect("a channel");
    let pointed = || Fate::PointedTo(production.clone());
    assert_eq!(fates(&rule(0, 0, History::Keep)), [Fate::WasPointedTo(production.clone()), pointed(), Fate::Retire]);
    assert_eq!(fates(&rule(0, 0, History::Drop)), [Fate::Retire, pointed(), Fate::Retire]);
    assert_eq!(fates(&rule(0, 1, History::Drop)), [Fate::Young, Fate::Young, Fate::Young]);
    assert_eq!(fates(&rule(1, 0, History::Drop)), [Fate::Retire, pointed(), Fate::Last]);
    world.promote("m:1", "production", "trainer").expect("proposed");
    assert_eq!(fates(&rule(0, 0, History::Drop)), [Fate::Proposed, pointed(), Fate::Retire]);
    world.retire("m:3", "trainer", InUse::Refuse).expect("retired");
    assert_eq!(fates(&rule(0, 0, History::Drop)), [Fate::Proposed, pointed(), Fate::RetiredAlready]);
}

/// A root in which the trainer seals `m`, and carol seals `toy`; nobody seals everything.
fn apart(text: &str) -> String {
    let sealer = "[[roles.sealer]]\nmodels = [\"*\"]\nkeys = [\"trainer\"]\n";
    let apart = "[[roles.sealer]]\nmodels = [\"m\"]\nkeys = [\"trainer\"]\n\
                 [[roles.sealer]]\nmodels = [\"toy\"]\nkeys = [\"carol\"]\n";
    assert!(text.contains(sealer));
    text.replace(sealer, apart)
        .replace("keys = [\"alice\", \"bob\", \"carol\"]", "keys = [\"alice\", \"bob\"]")
        .replace("keys = [\"alice\", \"alice2\", \"bob\", \"carol\"]", "keys = [\"alice\", \"alice2\", \"bob\"]")
}

#[test]
fn by_a_digest_nobody_shreds_what_is_not_theirs() {
    let world = World::new();
    let pinned = world.pinned.clone();
    world.next_root(&pinned, &["alice", "bob"], |text| apart(&text)).expect("published");
    let gate = world.gate().expect("gate");
    let policy = gate.policy();
    let vault = &world.fixture.vault;
    let named = vault.resolve(&reference("m:1"), &policy).expect("there");
    let nameless = vault.resolve(&Reference::Digest(named.digest), &policy).expect("there");
    let shred = |artifact: &Artifact, by: &str| vault.shred(artifact, &policy, "because", &world.keys[by]).map(drop);
    assert_eq!(kind(shred(&named, "carol")), Kind::Authenticity);
    assert_eq!(kind(shred(&nameless, "carol")), Kind::Authenticity, "she seals toys only");
    // Nor does a record count that she writes herself, for whoever reads by the digest.
    let record = Shredding::new("because", Some(world.pinned.origin())).expect("legal");
    let envelope = sign(named.subject, record, &world.keys["carol"]).expect("signed");
    let folder = world.path(&format!("artifacts/{}/shredded", named.digest.to_hex()));
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join(format!("{}.dsse.json", "0".repeat(64))), envelope).expect("planted");
    assert!(vault.shredded(&nameless, &policy).expect("read").is_none());
    vault.unlock(&nameless, &policy, &world.fixture.ring).expect("opens");

    // As soon as it is a toy, too, it takes the right for both.
    let toy: VersionName = "toy:1".parse().expect("a name");
    let record = VersionRecord::new(&toy, Some(world.pinned.origin())).expect("randomness");
    let record = sign(named.subject, record, &world.keys["carol"]).expect("signed");
    vault.create_new(&version_path(&toy), &record).expect("published");
    assert!(vault.shredded(&nameless, &policy).expect("read").is_none(), "hers is not enough");
    assert_eq!(kind(shred(&nameless, "trainer")), Kind::Authenticity, "nor is his");
    shred(&nameless, "alice").expect("release keys are for all models");
    assert!(vault.shredded(&nameless, &policy).expect("read").is_some());
    assert_eq!(kind(vault.unlock(&named, &policy, &world.fixture.ring)), Kind::NoKey);
}

#[test]
fn by_a_digest_the_sealer_of_all_its_versions_shreds() {
    let world = World::new();
    let pinned = world.pinned.clone();
    world.next_root(&pinned, &["alice", "bob"], |text| apart(&text)).expect("published");
    let policy = world.gate().expect("gate").policy();
    let vault = &world.fixture.vault;
    let digest = vault.resolve(&reference("m:1"), &policy).expect("there").digest;
    let nameless = vault.resolve(&Reference::Digest(digest), &policy).expect("there");
    vault.shred(&nameless, &policy, "because", &world.keys["trainer"]).expect("m:1 is its only version");
    assert_eq!(kind(vault.unlock(&nameless, &policy, &world.fixture.ring)), Kind::NoKey);
    // Nobody but who may shred anything speaks for what is no version.
    let digest = vault.resolve(&reference("m:2"), &policy).expect("there").digest;
    let nameless = vault.resolve(&Reference::Digest(digest), &policy).expect("there");
    fs::remove_file(world.path(&version_path(&"m:2".parse().expect("a name")))).expect("removed");
    let refused = vault.shred(&nameless, &policy, "because", &world.keys["trainer"]);
    assert_eq!(kind(refused.map(drop)), Kind::Authenticity);
    vault.shred(&nameless, &policy, "because", &world.keys["bob"]).expect("release keys are for all models");
}
