//! What records of the registry say.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{identity::Means, rights::Grant};

/// One change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A key begins to count.
    KeyAdded {
        /// Its id.
        id: String,
        /// What people call it.
        name: String,
        /// The person behind it.
        holder: String,
        /// The BLAKE3 of its secret, hex.
        hash: String,
        /// What it may do.
        grants: Vec<Grant>,
        /// When it ceases to count.
        expires: Option<Time>,
    },
    /// A key ceases to count at a time that was not set before, or is earlier than it was.
    KeyExpires {
        /// Its id.
        id: String,
        /// When.
        expires: Time,
    },
    /// A key counts no more, for ever.
    KeyDisabled {
        /// Its id.
        id: String,
    },
    /// These policies count, and those before them no more.
    PoliciesSet {
        /// In Cedar.
        text: String,
    },
    /// Somebody has more rights for a while.
    Elevated {
        /// By what they identify themselves.
        means: Means,
        /// Their id.
        principal: String,
        /// The rights.
        grant: Grant,
        /// For how long from the record on that puts it in force.
        seconds: u64,
    },
    /// Changes wait for a second person.
    Proposed {
        /// The id of the proposal.
        id: String,
        /// The person who proposes.
        holder: String,
        /// Why.
        reason: String,
        /// When it ceases to wait.
        expires: Time,
        /// The changes.
        changes: Vec<Self>,
    },
    /// A second person agrees: the changes count from here on.
    Approved {
        /// The id of the proposal.
        id: String,
        /// The second person.
        holder: String,
    },
    /// A proposal waits no more.
    Rejected {
        /// Its id.
        id: String,
    },
}

/// A time in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(pub Timestamp);

impl TryFrom<String> for Time {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        text.parse().map(Self)
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.0.to_string()
    }
}
