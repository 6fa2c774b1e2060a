//! Deleting by signed URLs: what a trial takes for proof, and what became of requests that were not answered.

use std::{collections::BTreeSet, sync::Mutex};

use super::{
    server::{Request, Seen, Server},
    *,
};

const LIFETIME: Duration = Duration::from_mins(10);

/// What a server makes of signed deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    Sound,
    IgnoresDates,
    RefusesAll,
    KnowsNone,
    DeletesNothing,
    FailsOverWhatEnded,
}

fn proven() -> Connection {
    Connection { proven: true, ..Connection::default() }
}

/// Whether a signed request has ended, by its date and lifetime.
fn has_ended(request: &Request) -> bool {
    let query = request.target.split_once('?').expect("signed").1;
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.clone().find(|(key, _)| *key == name).expect("signed").1.to_owned()
    };
    let date: Timestamp = value("X-Amz-Date").parse().expect("a time");
    let lifetime = value("X-Amz-Expires").parse().expect("seconds");
    Timestamp::now() > date + Duration::from_secs(lifetime)
}

fn trial(manners: Manners) -> bool {
    let objects = Mutex::new(BTreeSet::new());
    let server = Server::start(move |request| {
        let path = request.target.split('?').next().expect("a path").to_owned();
        request.body(&Seen::default());
        let mut objects = objects.lock().expect("no panic");
        let (status, headers) = match &*request.method {
            "PUT" => {
                objects.insert(path);
                ("200 OK", "etag: \"x\"\r\n")
            }
            "HEAD" if objects.contains(&path) => {
                let headers = "content-length: 1\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\netag: \"x\"\r\n";
                ("200 OK", headers)
            }
            "HEAD" => ("404 Not Found", ""),
            "DELETE" => match manners {
                Manners::RefusesAll => ("403 Forbidden", ""),
                Manners::KnowsNone => ("404 Not Found", ""),
                Manners::Sound if has_ended(request) => ("403 Forbidden", ""),
                Manners::FailsOverWhatEnded if has_ended(request) => ("503 Service Unavailable", ""),
                _ => {
                    if manners != Manners::DeletesNothing {
                        objects.remove(&path);
                    }
                    ("204 No Content", "")
                }
            },
            other => panic!("{other}"),
        };
        request.answer(status, headers, b"");
    });
    let bucket = server.bucket(proven());
    assert_eq!(bucket.create("a", b"1").expect("created"), Created::New);
    bucket.expires("a").expect("an answer")
}

#[test]
fn a_trial_believes_what_it_sees_deleted_at_once_and_refused_when_it_has_ended() {
    use Manners::{DeletesNothing, FailsOverWhatEnded, IgnoresDates, KnowsNone, RefusesAll, Sound};
    std::thread::scope(|scope| {
        for manners in [Sound, IgnoresDates, RefusesAll, KnowsNone, DeletesNothing, FailsOverWhatEnded] {
            scope.spawn(move || assert_eq!(trial(manners), manners == Sound, "{manners:?}"));
        }
    });
}

/// What comes of a deletion whose first request is answered so, or not at all, and whose second is carried out.
fn deletion(first: Option<&'static str>) -> Deletion {
    let asked = Mutex::new(0);
    let server = Server::start(move |request| {
        let mut asked = asked.lock().expect("no panic");
        *asked += 1;
        match first {
            _ if *asked > 1 => request.answer("204 No Content", "", b""),
            Some(status) => request.answer(status, "", b""),
            None => request.hang_up(),
        }
    });
    let bucket = server.bucket(proven());
    let permit = bucket.presign("a", Purpose::Delete, LIFETIME).expect("signed").expect("signs");
    bucket.delete_by("a", &permit)
}

#[test]
fn a_deletion_knows_whether_each_of_its_requests_was_answered() {
    for (first, succeeds, is_answered) in [
        (Some("204 No Content"), true, true),
        (Some("404 Not Found"), true, true),
        (Some("403 Forbidden"), false, true),
        (Some("429 Too Many Requests"), true, true),
        // Somebody in between may have given up on what is still carried out.
        (Some("504 Gateway Timeout"), true, false),
        (Some("503 Slow Down"), true, false),
        (None, true, false),
    ] {
        let deletion = deletion(first);
        assert_eq!((deletion.result.is_ok(), deletion.is_answered), (succeeds, is_answered), "{first:?}");
    }
}
