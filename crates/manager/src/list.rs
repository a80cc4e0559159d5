//! The parameters of every list, read once for all nouns.

use virga_api::v1::{ListQuery, PAGE_DEFAULT, PAGE_MAX, Page as Answer, PageBody};
use virga_model::Error;
use virga_model::filter::{self, Filter};
use virga_store::{Page, Paged, SortKey};

/// Longest `fields` parameter.
const FIELDS_BYTES_MAX: usize = 1000;

/// The part of a list that `q` asks for.
///
/// # Errors
/// Malformed, naming the parameter.
pub fn page(q: &ListQuery) -> Result<Page, Error> {
    let limit = q.limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Error::malformed_field("limit", format!("limit must be 1 to {PAGE_MAX}.")));
    }
    if q.fields.as_ref().is_some_and(|f| f.len() > FIELDS_BYTES_MAX) {
        return Err(Error::malformed_field("fields", format!("fields: longer than {FIELDS_BYTES_MAX} bytes.")));
    }
    let filter = q.filter.as_deref().filter(|f| !f.trim().is_empty()).map(filter::parse).transpose()?;
    let sort = q.sort.as_deref().map(sort_key).transpose()?;
    Ok(Page { limit, after: q.page_token.clone(), sort: sort.into_iter().collect(), filter, total: q.total == Some(true) })
}

fn sort_key(text: &str) -> Result<SortKey, Error> {
    let (field, descending) = text.strip_prefix('-').map_or((text, false), |f| (f, true));
    if field.is_empty() || field.len() > 64 {
        return Err(Error::malformed_field("sort", "sort must be a field, with - before it for descending."));
    }
    Ok(SortKey { field: field.into(), descending })
}

/// The answer: `items` are those of `paged` in their public shape.
///
/// # Errors
/// None at present; handlers end with it.
pub fn body<R, T: serde::Serialize>(q: &ListQuery, paged: Paged<R>, items: Vec<T>) -> Result<PageBody<T>, Error> {
    Ok(PageBody::new(Answer { items, next_page: paged.next, total: paged.total }, q.fields.as_deref()))
}

/// Whether a list is filtered or sorted by `field`.
#[must_use]
pub fn looks_at(page: &Page, field: &str) -> bool {
    fn within(f: &Filter, field: &str) -> bool {
        match f {
            Filter::And(a, b) | Filter::Or(a, b) => within(a, field) || within(b, field),
            Filter::Not(a) => within(a, field),
            Filter::Term { field: name, .. } => name == field,
        }
    }
    page.filter.as_ref().is_some_and(|f| within(f, field)) || page.sort.iter().any(|s| s.field == field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_checked() {
        let q = ListQuery { sort: Some("-name".into()), filter: Some("a = 1 and not host = h".into()), ..Default::default() };
        let p = page(&q).unwrap();
        assert_eq!(p.sort, [SortKey { field: "name".into(), descending: true }]);
        assert!(looks_at(&p, "host") && looks_at(&p, "name") && !looks_at(&p, "owner"));
        for bad in [
            ListQuery { limit: Some(0), ..Default::default() },
            ListQuery { limit: Some(1001), ..Default::default() },
            ListQuery { filter: Some("(".into()), ..Default::default() },
            ListQuery { sort: Some("-".into()), ..Default::default() },
        ] {
            assert!(page(&bad).is_err(), "{bad:?}");
        }
    }
}
