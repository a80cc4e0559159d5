//! The filter language as SQL: a whitelist of fields for each noun, and every value bound.
//!
//! Nothing that a caller wrote becomes part of a statement's text: field names are looked up, operators are an enum,
//! values are parameters. Conditions are never NULL (nullable columns stand in COALESCE), so that `not` and `!=`
//! mean what they say.

use crate::StoreError;
use crate::sql::Arg;
use virga_model::filter::{Filter, Op};
use virga_model::{Error, Time, size};

/// The parameters of a statement that is being put together.
#[derive(Default)]
pub(crate) struct Binds(Vec<Arg>);

impl Binds {
    /// Adds a value; answers with its place in the text, `$1`.
    pub(crate) fn bind(&mut self, v: impl Into<Arg>) -> String {
        self.0.push(v.into());
        format!("${}", self.0.len())
    }

    /// All values.
    pub(crate) fn done(self) -> Vec<Arg> {
        self.0
    }

    /// A copy of the values so far.
    pub(crate) fn so_far(&self) -> Vec<Arg> {
        self.0.clone()
    }
}

/// How values of a field are written and compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Free text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An id; upper and lower case are the same.
    Id,
    /// Several words between blanks: equal means "has it".
    Set,
    /// A whole number.
    Integer,
    /// Bytes, also written as `4GiB`.
    Bytes,
    /// A time, `2026-01-31T12:00:00Z` or `2026-01-31`.
    Time,
    /// `true` or `false`.
    Bool,
}

impl Kind {
    /// Whether the column is TEXT.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Kind::Text | Kind::Word(_) | Kind::Id | Kind::Set)
    }
}

/// A field that people can filter and sort by.
pub(crate) struct Field {
    /// Name in filters.
    pub(crate) name: &'static str,
    /// Type.
    pub(crate) kind: Kind,
    /// Columns; a term holds when it holds for one of them (`host`: name or id). The first one sorts.
    pub(crate) columns: &'static [&'static str],
    /// `EXISTS (SELECT … WHERE … AND (` when the columns are of other rows; such a field does not sort.
    pub(crate) within: Option<&'static str>,
}

impl Field {
    /// A field of one column.
    pub(crate) const fn new(name: &'static str, kind: Kind, columns: &'static [&'static str]) -> Field {
        Field { name, kind, columns, within: None }
    }

    /// A field of other rows; `within` ends with `AND (`.
    pub(crate) const fn of_others(name: &'static str, columns: &'static [&'static str], within: &'static str) -> Field {
        Field { name, kind: Kind::Text, columns, within: Some(within) }
    }
}

/// The whitelist of a noun.
pub(crate) struct Fields {
    /// The fields.
    pub(crate) list: &'static [Field],
    /// Whether `label.KEY` is one too.
    pub(crate) labels: bool,
}

/// Begin of the condition on a label; the key is `{}`.
const LABEL: &str = "EXISTS (SELECT 1 FROM vm_label WHERE vm_label.vm_id = vm.id AND vm_label.label_key = ";

impl Fields {
    /// The field called `name`.
    pub(crate) fn find(&self, name: &str) -> Result<&'static Field, StoreError> {
        self.list.iter().find(|f| f.name == name).ok_or_else(|| {
            let mut known: Vec<&str> = self.list.iter().map(|f| f.name).collect();
            if self.labels {
                known.push("label.KEY");
            }
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            malformed(format!("There is no field \"{shown}\" here."), format!("The fields are {}.", known.join(", ")))
        })
    }

    /// The condition that `filter` means.
    pub(crate) fn condition(&self, b: &mut Binds, filter: &Filter) -> Result<String, StoreError> {
        Ok(match filter {
            Filter::And(l, r) => format!("({} AND {})", self.condition(b, l)?, self.condition(b, r)?),
            Filter::Or(l, r) => format!("({} OR {})", self.condition(b, l)?, self.condition(b, r)?),
            Filter::Not(f) => format!("NOT {}", self.condition(b, f)?),
            Filter::Term { field, op, values } => self.term(b, field, *op, values)?,
        })
    }

    fn term(&self, b: &mut Binds, name: &str, op: Op, values: &[String]) -> Result<String, StoreError> {
        if op == Op::Ne {
            return Ok(format!("NOT {}", self.term(b, name, Op::Eq, values)?));
        }
        if let (true, Some(key)) = (self.labels, name.strip_prefix("label.")) {
            let key = b.bind(key);
            let value = compare(b, name, Kind::Text, "vm_label.label_value", op, values)?;
            return Ok(format!("{LABEL}{key} AND {value})"));
        }
        let field = self.find(name)?;
        let parts: Vec<String> = field.columns.iter().map(|c| compare(b, name, field.kind, c, op, values)).collect::<Result<_, _>>()?;
        Ok(match field.within {
            Some(begin) => format!("{begin}{}))", parts.join(" OR ")),
            None => format!("({})", parts.join(" OR ")),
        })
    }
}

fn malformed(message: impl Into<String>, hint: impl Into<String>) -> StoreError {
    StoreError::Malformed(Error::malformed(message).with_hint(hint))
}

/// The condition that `column` compares so with one of `values`.
fn compare(b: &mut Binds, name: &str, kind: Kind, column: &str, op: Op, values: &[String]) -> Result<String, StoreError> {
    let first = values.first().ok_or_else(|| malformed(format!("{name}: a value is missing."), "Give a value."))?;
    let sign = match op {
        Op::Contains if kind.is_text() => return Ok(like(b, column, first, "%")),
        Op::Contains => return Err(malformed(format!("{name}: ~ compares texts only."), "Use = != < <= > >= or in.")),
        Op::In => {
            let any: Vec<String> = values.iter().map(|v| equal(b, name, kind, column, v)).collect::<Result<_, _>>()?;
            return Ok(format!("({})", any.join(" OR ")));
        }
        Op::Eq | Op::Ne => return equal(b, name, kind, column, first),
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
    };
    if matches!(kind, Kind::Bool | Kind::Word(_) | Kind::Set) {
        return Err(malformed(format!("{name}: {sign} makes no sense here."), "Use =, != or in."));
    }
    let v = value(name, kind, first)?;
    Ok(format!("{column} {sign} {}", b.bind_arg(v)))
}

fn equal(b: &mut Binds, name: &str, kind: Kind, column: &str, text: &str) -> Result<String, StoreError> {
    if kind == Kind::Set {
        return Ok(like(b, column, &format!(" {text} "), "%"));
    }
    let v = value(name, kind, text)?;
    Ok(format!("{column} = {}", b.bind_arg(v)))
}

/// Contains, without regard to case. Both sides are lowered by the database, so that they are lowered alike.
fn like(b: &mut Binds, column: &str, text: &str, any: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push_str(any);
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push_str(any);
    format!("lower({column}) LIKE lower({}) ESCAPE '!'", b.bind(pattern))
}

/// `text` as a value of the field's type.
fn value(name: &str, kind: Kind, text: &str) -> Result<Arg, StoreError> {
    let wrong = |hint: &str| malformed(format!("{name}: the value is of the wrong kind."), hint);
    Ok(match kind {
        Kind::Text | Kind::Set => Arg::from(text),
        Kind::Id => Arg::from(text.to_lowercase()),
        Kind::Word(words) => match words.iter().find(|w| w.eq_ignore_ascii_case(text)) {
            Some(w) => Arg::from(*w),
            None => return Err(wrong(&format!("It is one of {}.", words.join(", ")))),
        },
        Kind::Integer => Arg::from(text.parse::<i64>().map_err(|_| wrong("Write a whole number."))?),
        Kind::Bytes => Arg::from(size::parse(text).map_err(|_| wrong("Write a size such as 512MiB or 20GiB."))?),
        Kind::Time => {
            let t = Time::parse(text).or_else(|| Time::parse(&format!("{text}T00:00:00Z")));
            Arg::from(t.ok_or_else(|| wrong("Write a time such as 2026-01-31T12:00:00Z or 2026-01-31."))?)
        }
        Kind::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Arg::from(true),
            "false" | "no" | "0" => Arg::from(false),
            _ => return Err(wrong("Write true or false.")),
        },
    })
}

impl Binds {
    fn bind_arg(&mut self, v: Arg) -> String {
        self.0.push(v);
        format!("${}", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields = Fields { list: &[Field::new("name", Kind::Text, &["t.name", "t.id"]), Field::new("size", Kind::Bytes, &["t.size"])], labels: true };

    fn sql(text: &str) -> Result<String, StoreError> {
        FIELDS.condition(&mut Binds::default(), &virga_model::filter::parse(text).unwrap())
    }

    #[test]
    fn no_value_reaches_the_text() {
        let hostile = r#"name = "x' or 1=1 --" or name ~ "%'" or label.a'b = 1"#;
        // The last field name does not even parse as one word; a quoted key cannot be written.
        assert!(virga_model::filter::parse(hostile).is_err());
        let text = sql(r#"name = "x' or 1=1 --" or not name ~ "%'" or label.env in (a, "'")"#).unwrap();
        assert!(!text.contains("1=1") && text.matches('\'').count() == 4, "{text}");
    }

    #[test]
    fn wrong_fields_and_values_are_named() {
        for (bad, says) in [("colour = red", "name, size, label.KEY"), ("size = blue", "20GiB"), ("size ~ 4", "texts only")] {
            let e = sql(bad).unwrap_err();
            assert!(Error::from(e).to_string().contains(says), "{bad}");
        }
        assert!(sql("size >= 4GiB").is_ok());
    }
}
