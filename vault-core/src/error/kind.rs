//! The classes of errors, and what each is called elsewhere: one table.

/// The class of an [`Error`](super::Error): what a program branches on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// [`Error::Storage`](super::Error::Storage) and [`Error::InputChanged`](super::Error::InputChanged).
    Operational,
    /// [`Error::Misuse`](super::Error::Misuse).
    Usage,
    /// [`Error::Corrupt`](super::Error::Corrupt).
    Integrity,
    /// [`Error::Untrusted`](super::Error::Untrusted).
    Authenticity,
    /// [`Error::Stale`](super::Error::Stale).
    Stale,
    /// [`Error::WrongKey`](super::Error::WrongKey).
    NoKey,
    /// [`Error::Conflict`](super::Error::Conflict), [`Error::Lost`](super::Error::Lost) and
    /// [`Error::InUse`](super::Error::InUse).
    Conflict,
    /// [`Error::NotFound`](super::Error::NotFound) and [`Error::Gone`](super::Error::Gone).
    NotFound,
    /// [`Error::Denied`](super::Error::Denied).
    Denied,
}

/// What a class is called: by machines, by a shell, over HTTP (RFC 9110 section 15).
struct Row(Kind, &'static str, u8, u16);

const TABLE: [Row; 9] = [
    Row(Kind::Operational, "operational", 1, 503),
    Row(Kind::Usage, "usage", 2, 400),
    Row(Kind::Integrity, "integrity", 3, 422),
    Row(Kind::Authenticity, "authenticity", 4, 422),
    Row(Kind::Stale, "stale", 5, 409),
    Row(Kind::NoKey, "no-key", 6, 422),
    Row(Kind::Conflict, "conflict", 7, 412),
    Row(Kind::NotFound, "not-found", 8, 404),
    Row(Kind::Denied, "denied", 9, 403),
];

impl Kind {
    /// Every class, by its exit code.
    pub const ALL: [Self; 9] = {
        let mut all = [Self::Operational; 9];
        let mut at = 0;
        while at < all.len() {
            all[at] = TABLE[at].0;
            at += 1;
        }
        all
    };

    fn row(self) -> &'static Row {
        // The table is in the order of the classes, as a test says.
        &TABLE[self as usize]
    }

    /// The name of this class in machine-readable output, and in the problem documents (RFC 9457) of a registry.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The class of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The exit code of a program that ends with it.
    pub fn exit_code(self) -> u8 {
        self.row().2
    }

    /// The HTTP status with which a registry answers.
    pub fn http_status(self) -> u16 {
        self.row().3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_in_its_row_and_found_by_its_name() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, kind.row().0), (at, kind));
            assert_eq!(Kind::from_name(kind.as_str()), Some(kind));
            assert_eq!(usize::from(kind.exit_code()), at + 1);
            assert!((400..600).contains(&kind.http_status()));
        }
        assert_eq!(Kind::from_name("Denied"), None);
    }
}
