//! The one filter language of API, CLI and portal: `state = running and (cpus > 4 or name ~ web) and label.env = prod`.
//!
//! Grammar: `or` binds weaker than `and`, `and` weaker than `not`; comparisons are `=`, `!=`, `<`, `<=`, `>`, `>=`,
//! `~` (contains, without regard to case) and `in (a, b)`. A value is a bare word, a size such as `4GiB` (for fields
//! in bytes) or a "quoted text". This module parses; which fields exist is the list endpoint's business, and the
//! store alone makes SQL of it, with every value as a bound parameter.

use crate::error::Error;

/// Longest filter, in bytes.
pub const FILTER_BYTES_MAX: usize = 2000;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 16;
/// Most comparisons.
pub const TERMS_MAX: usize = 50;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Both.
    And(Box<Filter>, Box<Filter>),
    /// One of them.
    Or(Box<Filter>, Box<Filter>),
    /// Not this.
    Not(Box<Filter>),
    /// A comparison.
    Term {
        /// Field name, e.g. `state` or `label.env`.
        field: String,
        /// How to compare.
        op: Op,
        /// With what; more than one only for [`Op::In`].
        values: Vec<String>,
    },
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Contains, without regard to case.
    Contains,
    /// One of a list.
    In,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Op(Op),
    Open,
    Close,
    Comma,
}

/// Parses a filter.
///
/// # Errors
/// [`crate::ErrorCode::Malformed`] that says where and what was expected.
pub fn parse(text: &str) -> Result<Filter, Error> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(Error::malformed_field("filter", format!("filter: longer than {FILTER_BYTES_MAX} bytes")));
    }
    let tokens = tokenize(text)?;
    let mut p = Parser { tokens: &tokens, at: 0, terms: 0 };
    let f = p.or(0)?;
    match p.peek() {
        None => Ok(f),
        Some(t) => Err(Error::malformed_field("filter", format!("filter: {} is not expected here; join comparisons by and, or", show(t)))),
    }
}

fn tokenize(text: &str) -> Result<Vec<Token>, Error> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        let next = chars.get(i + 1).copied();
        let (token, len) = match (c, next) {
            (c, _) if c.is_whitespace() => {
                i += 1;
                continue;
            }
            ('(', _) => (Token::Open, 1),
            (')', _) => (Token::Close, 1),
            (',', _) => (Token::Comma, 1),
            ('!', Some('=')) => (Token::Op(Op::Ne), 2),
            ('<', Some('=')) => (Token::Op(Op::Le), 2),
            ('>', Some('=')) => (Token::Op(Op::Ge), 2),
            ('=', Some('=')) => (Token::Op(Op::Eq), 2),
            ('=', _) => (Token::Op(Op::Eq), 1),
            ('<', _) => (Token::Op(Op::Lt), 1),
            ('>', _) => (Token::Op(Op::Gt), 1),
            ('~', _) => (Token::Op(Op::Contains), 1),
            ('"', _) => quoted(&chars, i)?,
            (c, _) if word_char(c) => {
                let end = (i..chars.len()).find(|&j| !word_char(chars[j])).unwrap_or(chars.len());
                (Token::Word(chars[i..end].iter().collect()), end - i)
            }
            _ => {
                return Err(Error::malformed_field(
                    "filter",
                    format!("filter: character {:?} at position {} is not expected; quote texts with \"\"", c, i + 1),
                ));
            }
        };
        out.push(token);
        i += len;
    }
    Ok(out)
}

fn word_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '%')
}

fn quoted(chars: &[char], start: usize) -> Result<(Token, usize), Error> {
    let mut s = String::new();
    let mut i = start + 1;
    while let Some(&c) = chars.get(i) {
        match (c, chars.get(i + 1)) {
            ('"', _) => return Ok((Token::Text(s), i + 1 - start)),
            ('\\', Some(&n)) => {
                s.push(n);
                i += 2;
            }
            _ => {
                s.push(c);
                i += 1;
            }
        }
    }
    Err(Error::malformed_field("filter", format!("filter: the text that begins at position {} has no closing \"", start + 1)))
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    terms: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let hit = matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(hit);
        hit
    }

    fn or(&mut self, depth: usize) -> Result<Filter, Error> {
        let mut f = self.and(depth)?;
        while self.keyword("or") {
            f = Filter::Or(Box::new(f), Box::new(self.and(depth)?));
        }
        Ok(f)
    }

    fn and(&mut self, depth: usize) -> Result<Filter, Error> {
        let mut f = self.unary(depth)?;
        while self.keyword("and") {
            f = Filter::And(Box::new(f), Box::new(self.unary(depth)?));
        }
        Ok(f)
    }

    fn unary(&mut self, depth: usize) -> Result<Filter, Error> {
        if depth > DEPTH_MAX {
            return Err(Error::malformed_field("filter", format!("filter: nested deeper than {DEPTH_MAX}")));
        }
        if self.keyword("not") {
            return Ok(Filter::Not(Box::new(self.unary(depth + 1)?)));
        }
        if self.peek() == Some(&Token::Open) {
            self.at += 1;
            let f = self.or(depth + 1)?;
            return if self.peek() == Some(&Token::Close) {
                self.at += 1;
                Ok(f)
            } else {
                Err(Error::malformed_field("filter", "filter: a closing parenthesis is missing"))
            };
        }
        self.term()
    }

    fn term(&mut self) -> Result<Filter, Error> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(Error::malformed_field("filter", format!("filter: more than {TERMS_MAX} comparisons")));
        }
        let field = match self.peek() {
            Some(Token::Word(w)) => w.clone(),
            other => return Err(Error::malformed_field("filter", format!("filter: a field name is expected, not {}", other.map_or("the end".into(), show)))),
        };
        self.at += 1;
        if self.keyword("in") {
            return Ok(Filter::Term { field, op: Op::In, values: self.list()? });
        }
        let Some(Token::Op(op)) = self.peek().cloned() else {
            return Err(Error::malformed_field("filter", format!("filter: after \"{}\" one of = != < <= > >= ~ in is expected", crate::name::shown(&field))));
        };
        self.at += 1;
        Ok(Filter::Term { field, op, values: vec![self.value()?] })
    }

    fn value(&mut self) -> Result<String, Error> {
        let v = match self.peek() {
            Some(Token::Word(w) | Token::Text(w)) => w.clone(),
            other => return Err(Error::malformed_field("filter", format!("filter: a value is expected, not {}", other.map_or("the end".into(), show)))),
        };
        self.at += 1;
        Ok(v)
    }

    fn list(&mut self) -> Result<Vec<String>, Error> {
        if self.peek() != Some(&Token::Open) {
            return Err(Error::malformed_field("filter", "filter: after in a list such as (a, b) is expected"));
        }
        self.at += 1;
        let mut values = vec![self.value()?];
        loop {
            match self.peek() {
                Some(Token::Comma) => {
                    self.at += 1;
                    values.push(self.value()?);
                }
                Some(Token::Close) => {
                    self.at += 1;
                    break;
                }
                _ => return Err(Error::malformed_field("filter", "filter: the list after in has no end")),
            }
        }
        if values.len() > TERMS_MAX * 4 {
            return Err(Error::malformed_field("filter", "filter: the list after in is too long"));
        }
        Ok(values)
    }
}

fn show(t: &Token) -> String {
    match t {
        Token::Word(w) | Token::Text(w) => format!("\"{}\"", crate::name::shown(w)),
        Token::Op(_) => "a comparison".into(),
        Token::Open => "(".into(),
        Token::Close => ")".into(),
        Token::Comma => ",".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_and_values() {
        let f = parse(r#"state = running and cpus >= 4 or not name ~ "a \"b\"" "#).unwrap();
        let Filter::Or(l, r) = f else { panic!("or is outermost") };
        assert!(matches!(*l, Filter::And(..)));
        let Filter::Not(n) = *r else { panic!("not") };
        assert_eq!(*n, Filter::Term { field: "name".into(), op: Op::Contains, values: vec!["a \"b\"".into()] });
        assert!(matches!(parse("label.env in (prod, \"x y\")").unwrap(), Filter::Term { op: Op::In, values, .. } if values == ["prod", "x y"]));
    }

    #[test]
    fn errors_say_what_is_expected_and_limits_hold() {
        for (bad, says) in [
            ("", "field name"),
            ("state", "one of"),
            ("state =", "a value"),
            ("state = a b", "join comparisons"),
            ("(state = a", "closing"),
            ("a = \"x", "closing \""),
            ("a in x", "list"),
            ("a = ;", "not expected"),
        ] {
            let e = parse(bad).unwrap_err();
            assert!(e.message.contains(says), "{bad}: {e}");
        }
        assert!(parse(&"(".repeat(500)).is_err());
        assert!(parse(&"not ".repeat(400)).is_err());
        assert!(parse(&vec!["a=1"; 51].join(" and ")).is_err());
        assert!(parse(&"x".repeat(3000)).is_err());
    }
}
