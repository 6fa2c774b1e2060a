//! Policies of AWS for a vault in a bucket.
//!
//! Sources: "Enforce conditional writes on Amazon S3 buckets" and "Policies and permissions in Amazon S3", Amazon S3 User
//! Guide; "AWS global condition context keys", IAM User Guide.

use serde_json::{Value, json};

use crate::failure::{Failure, Result};

/// Who alone may delete, to be replaced.
pub(super) const COLLECTOR: &str = "arn:aws:iam::ACCOUNT:role/mvault-gc";
const VERSION: &str = "2012-10-17";
/// What a writer creates that relies on what a collection is about to delete.
const CALL_OFF: &str = "gc/*/outcome.json";
/// Where whoever creates records logs them.
const BATCHES: &str = "log/batch/*";
/// What is overwritten: the newest checkpoint of the log, and tiles that somebody else put wrong ones in the place of.
const MUTABLE: [&str; 2] = ["log/checkpoint", "log/tile/*"];
/// Everything else in a vault. A policy cannot say `all but`, so that it has to name them.
const CREATE_ONLY: [&str; 16] = [
    "vault.json",
    "objects/*",
    "artifacts/*",
    "models/*",
    "proposals/*",
    "revocations/*",
    "freshness/*",
    "trust/*",
    "retired/*",
    "sessions/*",
    "gc/*",
    "server/*",
    "log/genesis.json",
    "log/batch/*",
    "log/checkpoints/*",
    "log/record/*",
];

/// Each policy under the name of who it is for.
pub(super) fn all(vault: Option<&str>, bucket: Option<&str>, prefix: Option<&str>, collector: &str) -> Result<Value> {
    let place = vault.and_then(|url| url.split_once("://")).map(|(_, rest)| rest.split_once('/').unwrap_or((rest, "")));
    let place = place.filter(|_| vault.is_some_and(crate::aws::is_s3));
    let bucket = bucket.or(place.map(|(bucket, _)| bucket)).unwrap_or("BUCKET");
    let prefix = prefix.or(place.map(|(_, prefix)| prefix)).unwrap_or("").trim_matches('/');
    // A wildcard, or a variable of the policy language, would open more than the vault.
    let plain = |text: &str, more: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
    if bucket.is_empty() || !plain(bucket, b"-._") || !plain(prefix, b"-._/=+!") {
        return Err(Failure::usage(format!("{bucket}/{prefix}: is no name of a bucket and a prefix")));
    }
    if !collector.starts_with("arn:") || !plain(collector, b":/-_+=,.@") {
        return Err(Failure::usage(format!("{collector}: is no ARN of one role or user")));
    }
    let place = Place { bucket, prefix };
    Ok(json!({
        "sealer": place.policy(&["objects/*", "artifacts/*", "models/*/versions/*", "sessions/*", CALL_OFF, BATCHES], &[]),
        "node": place.policy(&[], &[]),
        "release-manager": place.policy(&[
            "models/*/channels/*", "proposals/*", "revocations/*", "freshness/*", "trust/*", "artifacts/*/recipients/*",
            "artifacts/*/attestations/*", "retired/*", CALL_OFF, BATCHES,
        ], &[]),
        "publisher": place.policy(
            &["log/genesis.json", "log/checkpoints/*", "log/record/*", MUTABLE[0], MUTABLE[1]],
            &[],
        ),
        // It publishes what a writer decided to publish and could not.
        "collector": place.policy(
            &["gc/*", "sessions/*", "artifacts/*/shredded/*", "models/*/versions/*", BATCHES],
            &["objects/*", "artifacts/*", "sessions/*", "gc/*"],
        ),
        "bucket": place.bucket_policy(collector),
    }))
}

struct Place<'a> {
    bucket: &'a str,
    prefix: &'a str,
}

impl Place<'_> {
    fn arn(&self, path: &str) -> String {
        let folder = if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) };
        format!("arn:aws:s3:::{}/{folder}{path}", self.bucket)
    }

    /// Reads everything, creates and deletes what is like these paths.
    fn policy(&self, creates: &[&str], deletes: &[&str]) -> Value {
        let mut list = json!({
            "Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket",
            "Resource": format!("arn:aws:s3:::{}", self.bucket),
        });
        if !self.prefix.is_empty() {
            list["Condition"] = json!({ "StringLike": { "s3:prefix": [self.prefix, format!("{}/*", self.prefix)] } });
        }
        let read = json!({ "Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": self.arn("*") });
        let mut statements = vec![list, read];
        for (name, action, paths) in [("Create", "s3:PutObject", creates), ("Delete", "s3:DeleteObject", deletes)] {
            if !paths.is_empty() {
                let like: Vec<_> = paths.iter().map(|path| self.arn(path)).collect();
                statements.push(json!({ "Sid": name, "Effect": "Allow", "Action": action, "Resource": like }));
            }
        }
        json!({ "Version": VERSION, "Statement": statements })
    }

    /// Whatever other policies allow: nothing is overwritten but what follows from the rest of the log, nothing deleted
    /// except by the collector, and older versions of objects by nobody.
    fn bucket_policy(&self, collector: &str) -> Value {
        json!({ "Version": VERSION, "Statement": [
            {
                "Sid": "CreateOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
                "Resource": CREATE_ONLY.map(|path| self.arn(path)),
                // The steps of an upload in parts carry no condition; the last one, which creates, does.
                "Condition": {
                    "Null": { "s3:if-none-match": "true" },
                    "Bool": { "s3:ObjectCreationOperation": "true" },
                },
            },
            {
                "Sid": "DeleteOnlyByCollector", "Effect": "Deny", "Principal": "*",
                "Action": "s3:DeleteObject",
                "Resource": self.arn("*"),
                "Condition": { "ArnNotEquals": { "aws:PrincipalArn": collector } },
            },
            {
                "Sid": "KeepOlderVersions", "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObjectVersion",
                "Resource": self.arn("*"),
            },
            // One object that nobody can read, put into a chain of records, would stop everybody who reads the chain.
            {
                "Sid": "NothingInAnArchive", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
                "Resource": self.arn("*"),
                "Condition": {
                    "Null": { "s3:x-amz-storage-class": "false" },
                    "StringNotEquals": { "s3:x-amz-storage-class": "STANDARD" },
                },
            },
            {
                "Sid": "NothingUnderAKeyOfOnesOwn", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
                "Resource": self.arn("*"),
                "Condition": { "Null": { "s3:x-amz-server-side-encryption-customer-algorithm": "false" } },
            },
            {
                "Sid": "OnlyTLS", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
                "Resource": [format!("arn:aws:s3:::{}", self.bucket), self.arn("*")],
                "Condition": { "Bool": { "aws:SecureTransport": "false" } },
            },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the grammar of policies demands of each statement.
    fn check(policy: &Value, of_bucket: bool) {
        assert_eq!(policy["Version"], VERSION);
        let statements = policy["Statement"].as_array().expect("a list");
        let mut names: Vec<_> = statements.iter().map(|it| it["Sid"].as_str().expect("a name")).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_alphanumeric())));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), statements.len(), "names are unique");
        for statement in statements {
            let members: Vec<_> = statement.as_object().expect("an object").keys().map(String::as_str).collect();
            let known = ["Sid", "Effect", "Principal", "Action", "Resource", "Condition"];
            assert!(members.iter().all(|member| known.contains(member)), "{members:?}");
            assert_eq!(statement.get("Principal").is_some(), of_bucket);
            assert_eq!(statement["Effect"], if of_bucket { "Deny" } else { "Allow" });
            let listed = |value: &Value| match value {
                Value::Array(list) => list.clone(),
                one => vec![one.clone()],
            };
            for action in listed(&statement["Action"]) {
                assert!(action.as_str().is_some_and(|action| action.starts_with("s3:")));
            }
            for resource in listed(&statement["Resource"]) {
                let resource = resource.as_str().expect("text");
                assert!(resource == "arn:aws:s3:::b" || resource.starts_with("arn:aws:s3:::b/p/"), "{resource}");
            }
        }
        // Limits of AWS: 20 KB for a bucket policy, 6144 characters for a managed policy.
        assert!(policy.to_string().len() < 6144);
    }

    #[test]
    fn the_policies_are_valid_and_stay_below_the_prefix() {
        let policies = all(Some("s3://b/p/"), None, None, COLLECTOR).expect("good");
        for name in ["sealer", "node", "release-manager", "publisher", "collector"] {
            check(&policies[name], false);
            let text = policies[name].to_string();
            assert_eq!(text.contains("s3:DeleteObject"), name == "collector", "{name}");
            assert_eq!(text.contains("s3:PutObject"), name != "node", "{name}");
        }
        // A stolen collector's key takes no record away, and no older version of anything.
        assert!(!policies["collector"].to_string().contains("DeleteObjectVersion"));
        let deleted = policies["collector"]["Statement"][3]["Resource"].as_array().expect("a list").clone();
        assert_eq!(
            deleted,
            ["objects/*", "artifacts/*", "sessions/*", "gc/*"].map(|p| format!("arn:aws:s3:::b/p/{p}"))
        );
        check(&policies["bucket"], true);
        let put = &policies["bucket"]["Statement"][0];
        assert_eq!(put["Condition"]["Null"]["s3:if-none-match"], "true");
        let create_only = put["Resource"].as_array().expect("a list");
        let covered = |path: &str| {
            let like =
                |pattern: &str| pattern.strip_suffix('*').map_or(pattern == path, |folder| path.starts_with(folder));
            create_only
                .iter()
                .any(|it| like(it.as_str().and_then(|it| it.strip_prefix("arn:aws:s3:::b/p/")).expect("below")))
        };
        // Whoever may put something may only create it; the publisher alone may overwrite, and only what it derives.
        for name in ["sealer", "release-manager", "collector", "publisher"] {
            for resource in policies[name]["Statement"][2]["Resource"].as_array().expect("a list") {
                let path = resource.as_str().and_then(|it| it.strip_prefix("arn:aws:s3:::b/p/")).expect("below");
                assert_eq!(covered(path), !MUTABLE.contains(&path), "{name}: {path}");
                assert!(covered(path) || name == "publisher", "{name}: {path}");
            }
            let text = policies[name].to_string();
            assert_eq!(text.contains("p/log/batch/*"), name != "publisher", "{name}");
        }
        assert!(["vault.json", "log/checkpoints/1.a", "server/x"].into_iter().all(covered));
        let delete = &policies["bucket"]["Statement"][1];
        assert_eq!(delete["Condition"]["ArnNotEquals"]["aws:PrincipalArn"], COLLECTOR);
        // A negated condition is true of a request without the header; only one that has it is meant.
        let archive = &policies["bucket"]["Statement"][3]["Condition"];
        assert_eq!(archive["Null"]["s3:x-amz-storage-class"], "false");
        assert_eq!(archive["StringNotEquals"]["s3:x-amz-storage-class"], "STANDARD");
    }

    #[test]
    fn names_come_from_arguments_the_vault_or_a_placeholder() {
        let resource = |vault, bucket, prefix| {
            let policies = all(vault, bucket, prefix, COLLECTOR).expect("good");
            policies["node"]["Statement"][1]["Resource"].as_str().expect("text").to_owned()
        };
        assert_eq!(resource(None, None, None), "arn:aws:s3:::BUCKET/*");
        assert_eq!(resource(Some("/srv/models"), Some("b"), None), "arn:aws:s3:::b/*");
        assert_eq!(resource(Some("s3://b/p/q"), None, None), "arn:aws:s3:::b/p/q/*");
        assert_eq!(resource(Some("s3://b/p"), Some("c"), Some("/r/")), "arn:aws:s3:::c/r/*");
        for bad in ["b*", "b?", "", "${aws:username}", "b\"c"] {
            assert!(all(None, Some(bad), None, COLLECTOR).is_err(), "{bad}");
            assert!(bad.is_empty() || all(None, Some("b"), Some(bad), COLLECTOR).is_err(), "{bad}");
        }
        for bad in ["*", "arn:aws:iam::1:role/*", "mvault-gc"] {
            assert!(all(None, None, None, bad).is_err(), "{bad}");
        }
    }
}
