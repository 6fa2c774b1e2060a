//! A bucket of S3, from the configuration to what protects its objects.

use jiff::Timestamp;
use vault_core::store::{
    Connection,
    examine::{Answer, Examiner, Question},
};

use super::{
    Check,
    meaning::{self, Meaning},
};
use crate::{aws, failure::Failure, proofs::Proofs, session::Session};

const DOCUMENT: &str = "vault.json";
/// Servers refuse signatures that are further off, in seconds.
const REFUSED: i64 = 15 * 60;
/// Half a minute is slow networks; more is a clock nobody sets.
const SUSPECT: i64 = 60;

pub(super) fn examine(url: &str, session: &Session) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Err(check) = steps(url, session, &mut checks) {
        checks.push(check);
    }
    checks
}

fn steps(url: &str, session: &Session, checks: &mut Vec<Check>) -> Result<(), Check> {
    let connection = configuration(session, checks)?;
    let unfit = "a vault in S3 is s3://BUCKET/PREFIX";
    let mut examiner = Examiner::new(url, &connection).map_err(|e| Check::failed("vault", &Failure::from(e), unfit))?;

    let hello = examiner.ask(Question::Hello);
    let hello =
        hello.map_err(|error| Check::fail("server", error.to_string(), meaning::of_silence(&error.to_string())))?;
    checks.push(Check::ok("server", format!("{} answers", examiner.endpoint())));
    checks.extend(clock(&hello, Timestamp::now()));

    let nobody = "check where credentials come from: AWS_ACCESS_KEY_ID, AWS_PROFILE, or the role of the machine";
    examiner.authenticate(&connection).map_err(|e| Check::failed("credentials", &Failure::from(e), nobody))?;
    listing(&examiner, checks)?;
    let document = document(&examiner, checks);
    if let Some(document) = document {
        let check = create_once(&examiner, &document);
        if check.is_failure() {
            Proofs::forget(url, &connection);
        }
        checks.push(check);
    }
    checks.extend(protection(&examiner));
    Ok(())
}

fn configuration(session: &Session, checks: &mut Vec<Check>) -> Result<Connection, Check> {
    let connection = session.connection();
    let found = aws::configuration(&connection.settings)
        .map_err(|failure| Check::failed("configuration", &failure, "correct it there"))?;
    for origin in &found.origins {
        checks.push(Check::ok(origin.what, format!("{} ({})", origin.value, origin.from)));
    }
    let has = |what| found.origins.iter().any(|origin| origin.what == what);
    if !has("region") {
        let message = "none is set; us-east-1 is taken";
        checks.push(Check::warn("region", message, "set AWS_REGION to the region of the bucket"));
    }
    Ok(Connection { settings: found.settings, ..connection })
}

fn clock(answer: &Answer, now: Timestamp) -> Option<Check> {
    let server = answer.date?;
    let off = now.duration_since(server).as_secs();
    let message = format!("differs from the server's by {} s", off.abs());
    Some(match off.abs() {
        0..SUSPECT => Check::ok("clock", message),
        SUSPECT..REFUSED => Check::warn("clock", message, "set the clock of this machine; 15 minutes are refused"),
        _ => Check::fail("clock", message, "set the clock of this machine: servers refuse signatures that far off"),
    })
}

/// Credentials, bucket, region and the right to list, which one request shows.
fn listing(examiner: &Examiner, checks: &mut Vec<Check>) -> Result<(), Check> {
    let answer = ask(examiner, "bucket", Question::List)?;
    let bucket = examiner.bucket();
    if answer.is_success() {
        checks.push(Check::ok("credentials", "the server accepts them"));
        checks.push(Check::ok("bucket", format!("{bucket} is there and may be listed")));
        return Ok(());
    }
    let Meaning { check, why, remedy } = meaning::of(&answer, examiner.region());
    let said = meaning::said(&answer);
    if check == "rights" {
        // Everything else is in order, and reading may still be allowed.
        checks.push(Check::ok("credentials", "the server accepts them"));
        checks.push(Check::fail("list", format!("{bucket}: {why} ({said})"), remedy));
        return Ok(());
    }
    Err(Check::fail(check, format!("{bucket}: {why} ({said})"), remedy))
}

/// The bytes of `vault.json`.
fn document(examiner: &Examiner, checks: &mut Vec<Check>) -> Option<Vec<u8>> {
    let answer = match ask(examiner, "read", Question::Read(DOCUMENT)) {
        Ok(answer) => answer,
        Err(check) => {
            checks.push(check);
            return None;
        }
    };
    if answer.is_success() {
        // What came in part would be stored in part by a store that overwrites.
        let whole = serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok();
        checks.push(if whole {
            Check::ok("read", "vault.json is there and may be read")
        } else {
            Check::fail("vault", "vault.json is damaged, or came in part", "restore it from another copy")
        });
        return whole.then_some(answer.body);
    }
    checks.push(if answer.status == 404 {
        Check::warn("vault", "there is no vault.json: this is no vault yet", "make one with `mvault init`")
    } else {
        let Meaning { why, remedy, .. } = meaning::of(&answer, examiner.region());
        Check::fail("read", format!("vault.json: {why} ({})", meaning::said(&answer)), remedy)
    });
    None
}

/// Creates `vault.json` with its own bytes, which a sound store refuses; of an unsound one this changes nothing.
fn create_once(examiner: &Examiner, document: &[u8]) -> Check {
    let answer = match ask(examiner, "create once", Question::CreateAgain(DOCUMENT, document)) {
        Ok(answer) => answer,
        Err(check) => return check,
    };
    match answer.status {
        409 | 412 | 304 => Check::ok("create once", "what is there is not replaced"),
        200..300 => Check::fail(
            "create once",
            "the server ignores `If-None-Match: *` and lets every writer win",
            "no vault may be there: writers would replace one another's records; docs/S3.md lists servers that work",
        ),
        403 => Check::warn(
            "write",
            format!("these credentials may not write ({})", meaning::said(&answer)),
            "right for a serving node; a sealer needs s3:PutObject, see `mvault doctor --policies`",
        ),
        _ => {
            let remedy = "the server may not know `If-None-Match`; docs/S3.md lists servers that work";
            Check::fail(
                "create once",
                format!("the server does not answer clearly ({})", meaning::said(&answer)),
                remedy,
            )
        }
    }
}

/// What keeps others from replacing or deleting objects. Most users may not see it, which is no fault.
fn protection(examiner: &Examiner) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut seen = |check, question| {
        let answer = examiner.ask(question).ok()?;
        if !answer.is_success() && ![404].contains(&answer.status) {
            checks
                .push(Check::ok(check, format!("cannot be seen with these credentials ({})", meaning::said(&answer))));
            return None;
        }
        Some(answer)
    };
    let versioning = seen("versions", Question::Versioning);
    let lock = seen("object lock", Question::ObjectLock);
    let policy = seen("bucket policy", Question::Policy);
    if let Some(answer) = versioning {
        checks.push(match answer.tag("Status").as_deref() {
            Some("Enabled") => Check::ok("versions", "older versions of objects are kept"),
            _ => Check::ok("versions", "older versions of objects are not kept"),
        });
    }
    if let Some(answer) = lock {
        checks.push(match answer.tag("ObjectLockEnabled").as_deref() {
            Some("Enabled") => Check::ok(
                "object lock",
                "is on; what `mvault gc` deletes stays as an older version until its lock ends",
            ),
            _ => Check::ok("object lock", "is off"),
        });
    }
    if let Some(answer) = policy {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        checks.push(if answer.is_success() && text.contains("s3:if-none-match") {
            Check::ok("bucket policy", "speaks of s3:if-none-match")
        } else {
            let message = "nothing keeps other programs from overwriting objects";
            Check::warn("bucket policy", message, "`mvault doctor --policies` prints one that does")
        });
    }
    checks
}

fn ask(examiner: &Examiner, check: &'static str, question: Question<'_>) -> Result<Answer, Check> {
    let silence = |text: String| Check::fail(check, text.clone(), meaning::of_silence(&text));
    examiner.ask(question).map_err(|error| silence(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::State;

    #[test]
    fn a_clock_is_judged_by_what_servers_refuse() {
        let now: Timestamp = "2026-05-03T12:00:00Z".parse().expect("time");
        let state = |text: &str| {
            let date = Some(text.parse().expect("time"));
            let answer = Answer { status: 200, code: None, message: None, region: None, date, body: Vec::new() };
            clock(&answer, now).expect("a date").state
        };
        assert_eq!(state("2026-05-03T11:59:30Z"), State::Ok);
        assert_eq!(state("2026-05-03T12:05:00Z"), State::Warn);
        assert_eq!(state("2026-05-03T11:45:00Z"), State::Fail);
        assert_eq!(state("2027-05-03T11:45:00Z"), State::Fail);
    }
}
