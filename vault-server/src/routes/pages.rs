//! Lists in pages: what stands behind a given id, and whether there is more.

use std::{collections::BTreeMap, ops::Bound};

use axum::extract::{Query, rejection::QueryRejection};
use serde::Deserialize;

use crate::problem::Problem;

/// The most entries of a page.
pub(super) const MAX_PAGE: usize = 1000;

/// Which part of a list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

/// As it comes from a request.
pub(super) type Asked = Result<Query<Part>, QueryRejection>;

/// Reads which part is asked for.
pub(super) fn read(part: Asked) -> Result<Part, Problem> {
    let unfit = |error: QueryRejection| Problem::http(error.status(), error.body_text());
    part.map(|Query(part)| part).map_err(unfit)
}

impl Part {
    /// The entries of this part that `shown` shows, and whether there are more behind them.
    pub(super) fn of<V, T>(
        &self,
        all: &BTreeMap<String, V>,
        shown: impl Fn(&String, &V) -> Option<T>,
    ) -> (Vec<T>, bool) {
        let limit = self.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let behind = (Bound::Excluded(self.after.as_str()), Bound::Unbounded);
        let mut page: Vec<T> =
            all.range::<str, _>(behind).filter_map(|(id, value)| shown(id, value)).take(limit + 1).collect();
        let more = page.len() > limit;
        page.truncate(limit);
        (page, more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_and_leave_out_what_is_not_shown() {
        let all: BTreeMap<String, u32> = (0..25).map(|number| (format!("{number:02}"), number)).collect();
        let (mut after, mut seen) = (String::new(), Vec::new());
        loop {
            let part = Part { after: after.clone(), limit: Some(4) };
            let (page, more) = part.of(&all, |id, number| (number % 3 != 0).then(|| id.clone()));
            assert!((1..=4).contains(&page.len()));
            after.clone_from(page.last().expect("not empty"));
            seen.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(seen.len(), 16);
        assert!(seen.is_sorted());
        assert_eq!(Part { limit: Some(0), ..Part::default() }.of(&all, |_, n| Some(*n)), (vec![0], true));
        assert_eq!(Part { after: "99".into(), limit: None }.of(&all, |_, n| Some(*n)), (Vec::new(), false));
    }
}
