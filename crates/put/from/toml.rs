//! The part of TOML 1.0 that a map needs: comments, tables, dotted and quoted keys, strings of one line, whole numbers,
//! true and false, arrays and inline tables. Everything else (multi-line strings, floats, dates, arrays of tables) is
//! refused with its line, never misread.
//!
//! Own code because the parsers there are cost 40 to 95 KB of a program that is meant to be small. A test reads the same
//! documents with one of them and compares.

use serde_json::{Map, Value};

/// How deep arrays and inline tables may nest.
const MAX_DEPTH: usize = 8;

/// Reads a document into the same tree that JSON has.
///
/// # Errors
/// A sentence with the line.
pub fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let mut reader = Reader { text, at: 0 };
    reader.is_clean().and_then(|()| reader.document()).map_err(|why| {
        let line = text[..reader.at.min(text.len())].matches('\n').count() + 1;
        format!("line {line}: {why}")
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

type Read<T> = Result<T, &'static str>;

const TWICE: &str = "this key is there twice";

impl Reader<'_> {
    /// No control character may stand in a document but the tabulator and the ends of lines, in a comment neither.
    fn is_clean(&mut self) -> Read<()> {
        let bytes = self.text.as_bytes();
        let is_wrong = |(at, byte): (usize, &u8)| match byte {
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            byte => byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n'),
        };
        match bytes.iter().enumerate().position(is_wrong) {
            Some(at) => {
                self.at = at;
                Err("a control character stands here")
            }
            None => Ok(()),
        }
    }

    fn document(&mut self) -> Read<Map<String, Value>> {
        let mut root = Map::new();
        let mut path: Vec<String> = Vec::new();
        let mut opened: Vec<Vec<String>> = Vec::new();
        loop {
            self.skip(true);
            if self.peek().is_none() {
                return Ok(root);
            }
            if self.eat('[') {
                if self.peek() == Some('[') {
                    return Err("arrays of tables are not read here");
                }
                path = self.key()?;
                self.expect(']', "a table's name ends in ]")?;
                if opened.contains(&path) {
                    return Err("this table is there twice");
                }
                opened.push(path.clone());
                table(&mut root, &path)?;
            } else {
                let key = self.key()?;
                let value = self.assigned(0)?;
                insert(table(&mut root, &path)?, &key, value)?;
            }
            self.skip(false);
            if !matches!(self.peek(), None | Some('\n' | '\r')) {
                return Err("something follows where the line should end");
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let is_there = self.peek() == Some(c);
        self.at += if is_there { c.len_utf8() } else { 0 };
        is_there
    }

    fn expect(&mut self, c: char, why: &'static str) -> Read<()> {
        self.skip(false);
        if self.eat(c) { Ok(()) } else { Err(why) }
    }

    /// Passes over blanks and comments, and over ends of lines where they mean nothing.
    fn skip(&mut self, lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => self.at += 1,
                '\n' | '\r' if lines => self.at += 1,
                '#' => self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at),
                _ => return,
            }
        }
    }

    /// The characters from here on that belong to a bare key, a number or a word.
    fn bare(&mut self) -> &str {
        let rest = &self.text[self.at..];
        let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+');
        let end = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn key(&mut self) -> Read<Vec<String>> {
        let mut path = Vec::new();
        loop {
            self.skip(false);
            path.push(match self.peek() {
                Some('"' | '\'') => self.string()?,
                _ => match self.bare() {
                    // Only a number has a sign.
                    bare if bare.is_empty() || bare.contains('+') => return Err("a key should stand here"),
                    bare => bare.to_owned(),
                },
            });
            self.skip(false);
            if !self.eat('.') {
                return Ok(path);
            }
        }
    }

    fn assigned(&mut self, depth: usize) -> Read<Value> {
        self.expect('=', "a key is followed by =")?;
        self.skip(false);
        self.value(depth)
    }

    fn value(&mut self, depth: usize) -> Read<Value> {
        if depth > MAX_DEPTH {
            return Err("nested too deep");
        }
        match self.peek() {
            Some('"' | '\'') => self.string().map(Value::from),
            Some('[') => self.array(depth),
            Some('{') => self.inline_table(depth),
            _ => match self.bare() {
                "true" => Ok(true.into()),
                "false" => Ok(false.into()),
                word => whole_number(word).map(Value::from),
            },
        }
    }

    fn array(&mut self, depth: usize) -> Read<Value> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip(true);
            if self.eat(']') {
                return Ok(items.into());
            }
            items.push(self.value(depth + 1)?);
            self.skip(true);
            if !self.eat(',') && self.peek() != Some(']') {
                return Err("the values of an array are separated by commas and end in ]");
            }
        }
    }

    fn inline_table(&mut self, depth: usize) -> Read<Value> {
        self.at += 1;
        let mut members = Map::new();
        self.skip(false);
        while !self.eat('}') {
            let key = self.key()?;
            let value = self.assigned(depth + 1)?;
            insert(&mut members, &key, value)?;
            self.skip(false);
            if self.eat(',') {
                self.skip(false);
                if self.peek() == Some('}') {
                    return Err("an inline table ends without a comma");
                }
            } else if self.peek() != Some('}') {
                return Err("an inline table stands on one line, separated by commas, and ends in }");
            }
        }
        Ok(members.into())
    }

    fn string(&mut self) -> Read<String> {
        let quote = self.peek().unwrap_or('"');
        let rest = &self.text[self.at..];
        if rest.starts_with("\"\"\"") || rest.starts_with("'''") {
            return Err("strings of several lines are not read here");
        }
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else { return Err("a string does not end") };
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Ok(text),
                '\\' if quote == '"' => text.push(self.escape()?),
                '\t' => text.push(c),
                c if c.is_ascii_control() => {
                    return Err("a string ends on its line, and holds no control characters");
                }
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        const WRONG: &str = "this escape is not known";
        let c = self.peek().ok_or(WRONG)?;
        self.at += c.len_utf8();
        Ok(match c {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            '"' | '\\' => c,
            'u' | 'U' => {
                let digits = self.text.get(self.at..self.at + if c == 'u' { 4 } else { 8 }).ok_or(WRONG)?;
                self.at += digits.len();
                let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
                let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex);
                code.and_then(char::from_u32).ok_or(WRONG)?
            }
            _ => return Err(WRONG),
        })
    }
}

/// A decimal number, by TOML's rules: no leading zero, underscores between digits only.
fn whole_number(word: &str) -> Read<i64> {
    const WRONG: &str =
        "what stands here is not read: a string in quotes, a whole number, true, false, [ or { is";
    let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
    let is_good = digits.split('_').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        && (digits == "0" || !digits.starts_with('0'));
    if is_good { word.replace('_', "").parse().map_err(|_| "this number is too large") } else { Err(WRONG) }
}

/// The table of a path, made where it is not there.
fn table<'m>(root: &'m mut Map<String, Value>, path: &[String]) -> Read<&'m mut Map<String, Value>> {
    path.iter().try_fold(root, |map, step| {
        match map.entry(step.clone()).or_insert_with(|| Map::new().into()) {
            Value::Object(next) => Ok(next),
            _ => Err(TWICE),
        }
    })
}

fn insert(map: &mut Map<String, Value>, path: &[String], value: Value) -> Read<()> {
    let Some((last, before)) = path.split_last() else { return Err(TWICE) };
    match table(map, before)?.insert(last.clone(), value) {
        None => Ok(()),
        Some(_) => Err(TWICE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_refused_with_its_line() {
        for (text, why) in [
            ("a = 1\nb", "line 2: a key is followed by ="),
            ("a = 1 b = 2", "line 1: something follows"),
            ("a = 1\na = 2", "line 2: this key is there twice"),
            ("[t]\n[t]", "line 2: this table is there twice"),
            ("a = 1\n[a.b]", "line 2: this key is there twice"),
            ("[[t]]", "arrays of tables"),
            ("a = \"\"\"x\"\"\"", "several lines"),
            ("a = \"x\ny\"", "ends on its line"),
            ("a = \"x", "does not end"),
            ("a = \"\\x\"", "escape is not known"),
            ("a = \"\\uD800\"", "escape is not known"),
            ("a = \"\\u+123\"", "escape is not known"),
            ("a = 1.5", "something follows"),
            ("a = 007", "is not read"),
            ("a = 0x1f", "is not read"),
            ("a = 99999999999999999999", "too large"),
            ("a = 2026-11-23", "is not read"),
            ("a = yes", "is not read"),
            ("a = ", "is not read"),
            ("a = [1 2]", "separated by commas"),
            ("a = {b = 1,}", "without a comma"),
            ("a = {b = 1", "ends in }"),
            (" = 1", "a key should stand here"),
            ("é = 1", "a key should stand here"),
            ("[t", "ends in ]"),
            ("a+b = 1", "a key should stand here"),
            ("a = 1\n# \0", "line 2: a control character"),
            ("a = '\u{1b}'", "a control character"),
            ("a = 1\rb = 2", "a control character"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(why), "{text:?}: {said:?} does not say {why:?}");
        }
        assert!(parse(&format!("a = {}", "[".repeat(100))).unwrap_err().contains("too deep"));
        for end in 0..60 {
            let text = "a.'b c' = {d = [\"\\u00e9x\", 1], e = true} # é\n[t.\"ü\"]\nx=1";
            let _any = parse(&text.chars().take(end).collect::<String>());
        }
    }

    /// The same documents, read by the crate that everybody uses.
    #[cfg(feature = "agent")]
    #[test]
    fn what_is_read_is_what_toml_means() {
        fn plain(item: &toml_edit::Item) -> Value {
            if let Some(table) = item.as_table_like() {
                return table.iter().map(|(k, v)| (k.to_owned(), plain(v))).collect::<Map<_, _>>().into();
            }
            value(item.as_value().unwrap())
        }
        fn value(v: &toml_edit::Value) -> Value {
            match v {
                toml_edit::Value::String(s) => s.value().clone().into(),
                toml_edit::Value::Integer(n) => (*n.value()).into(),
                toml_edit::Value::Boolean(b) => (*b.value()).into(),
                toml_edit::Value::Array(items) => items.iter().map(value).collect::<Vec<_>>().into(),
                other => plain(&toml_edit::Item::Value(other.clone())),
            }
        }
        for text in [
            "",
            "# only\n\n  # comments",
            "a = 1\r\nb.c = -2_000 # x\r\n'd e'.\"f\\t\" = 'g\\h'\n",
            "[from.mytool]\nshape=\"env\"; ".trim_end_matches("; "),
            "[from.a]\nid = \"{X}-{Y}\"\nstatus = { field = \"R\", ok = [\"s\", 'done'], else = \"failed\" }\n[from.b]\nq=true",
            "x = [\n 1, # one\n [2, 3],\n {y = false},\n]\n\n[t]\n[t.u]\nz = \"\\u00e9\\U0001F600\\\"\\\\ \\b\\f\\n\\r\"",
            "[t.u]\na=1\n[t]\nb=2",
            "a.b = 1\na.c = 2\nd = {}\ne = []\n- = 0\n1 = +5",
        ] {
            let theirs: toml_edit::DocumentMut = text.parse().unwrap();
            assert_eq!(Value::from(parse(text).unwrap()), plain(theirs.as_item()), "{text}");
        }
    }
}
