//! `mvault doctor`

mod bucket;
mod folder;
mod meaning;
mod policies;

use serde_json::{Value, json};
use vault_core::store::is_remote;

use crate::{
    aws,
    failure::{Failure, Result},
    session::Session,
    ui::{count, one_line},
};

/// Find out why a vault cannot be reached, read or written
///
/// Asks one thing after the other: what is configured and where, whether the server answers, its clock, credentials,
/// bucket, region, rights, whether it creates objects only once, and what protects them. Nothing is changed. Each line says
/// ok, warn or FAIL, and what to do. Exit code 1 if anything failed.
///
/// With --policies it prints minimal IAM policies for sealer, node, release manager and garbage collector, and a bucket policy
/// under which nothing is overwritten, and nothing deleted except by the collector. Nothing is sent.
///
/// JSON: {"vault", "checks": [{"check", "state": "ok" | "warn" | "fail", "message", "remedy"}], "failed", "warned"};
/// with --policies {"sealer", "node", "release-manager", "publisher", "collector", "bucket"}, each a policy of AWS
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault doctor --vault s3://my-bucket/models
  mvault doctor --policies --bucket my-bucket --prefix models --collector arn:aws:iam::123456789012:role/mvault-gc")]
pub struct Args {
    /// Print policies for AWS instead
    #[arg(long)]
    policies: bool,
    /// The bucket the policies are for [default: that of --vault]
    #[arg(long, value_name = "NAME", requires = "policies")]
    bucket: Option<String>,
    /// The prefix of the vault in the bucket [default: that of --vault]
    #[arg(long, value_name = "PREFIX", requires = "policies")]
    prefix: Option<String>,
    /// Who alone may delete: the role that runs `mvault gc`
    #[arg(long, value_name = "ARN", requires = "policies", default_value = policies::COLLECTOR)]
    collector: String,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    name: &'static str,
    state: State,
    message: String,
    remedy: Option<String>,
}

impl Check {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { name: check, state: State::Ok, message: message.into(), remedy: None }
    }

    fn warn(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: check, state: State::Warn, message: message.into(), remedy: Some(remedy.into()) }
    }

    fn fail(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: check, state: State::Fail, message: message.into(), remedy: Some(remedy.into()) }
    }

    fn is_failure(&self) -> bool {
        self.state == State::Fail
    }

    /// What a failed command says, as a check.
    fn failed(check: &'static str, failure: &Failure, remedy: &str) -> Self {
        Self::fail(check, failure.message(), failure.advice().unwrap_or(remedy))
    }

    fn to_json(&self) -> Value {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        };
        json!({ "check": self.name, "state": state, "message": self.message, "remedy": self.remedy })
    }

    fn text(&self) -> String {
        let state = match self.state {
            State::Ok => "ok  ",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        let line = one_line(&format!("{state}  {}: {}", self.name, self.message));
        match &self.remedy {
            Some(remedy) => format!("{line}\n      {}", one_line(remedy)),
            None => line,
        }
    }
}

pub fn run(args: &Args, session: &Session) -> Result {
    if args.policies {
        let vault = session.global.vault.as_deref();
        let policies = policies::all(vault, args.bucket.as_deref(), args.prefix.as_deref(), &args.collector)?;
        let text = serde_json::to_string_pretty(&policies).map_err(|error| Failure::operational(error.to_string()))?;
        return session.ui.result(&text, &policies);
    }
    let url = session.vault_url()?;
    session.interrupt.arm()?;
    let checks = if aws::is_s3(url) {
        bucket::examine(url, session)
    } else if is_remote(url) || !url.contains("://") || url.get(..7).is_some_and(|s| s.eq_ignore_ascii_case("file://"))
    {
        folder::examine(url, session)
    } else {
        return Err(Failure::usage(format!("{url}: is no vault that can be examined")));
    };
    report(url, &checks, session)
}

fn report(url: &str, checks: &[Check], session: &Session) -> Result {
    let number = |state| checks.iter().filter(|check| check.state == state).count();
    let (failed, warned) = (number(State::Fail), number(State::Warn));
    let text = checks.iter().map(Check::text).collect::<Vec<_>>().join("\n");
    let list: Vec<_> = checks.iter().map(Check::to_json).collect();
    let object = json!({ "vault": url, "checks": list, "failed": failed, "warned": warned });
    session.ui.result(&text, &object)?;
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::operational(format!("{} failed", count(failed as u64, "check"))).hint("see above what to do"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_came_out_and_what_to_do_in_one_line_each() {
        let check = Check::fail("clock", "is wrong\nFAKE", "set it");
        assert_eq!(check.text().lines().count(), 2);
        assert!(check.text().starts_with("FAIL  clock: is wrong"));
        assert_eq!(Check::ok("a", "b").to_json(), json!({"check": "a", "state": "ok", "message": "b", "remedy": null}));
    }
}
