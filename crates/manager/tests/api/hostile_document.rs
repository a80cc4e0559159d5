//! Reads the OpenAPI document: operations, their parameters, every field of every body, and values that are right.
//!
//! A new operation or field is found here by itself. A path parameter of a new kind needs a line in the fixture.

use serde_json::{Map, Value, json};

/// Stands for the hostile value until it is put in as raw bytes.
pub const LEAF: &str = "@@LEAF@@";

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Path,
    Query,
    Header,
}

/// A parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: String,
    pub place: Place,
    pub schema: Value,
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Operation {
    pub id: String,
    pub method: String,
    pub path: String,
    pub parameters: Vec<Parameter>,
    /// Schema of a JSON body.
    pub body: Option<Value>,
    /// Whether it takes a body that is no JSON.
    pub streams: bool,
}

impl Operation {
    pub fn of(&self, place: Place) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(move |p| p.place == place)
    }

    pub fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|p| p.name == name)
    }

    pub fn changes(&self) -> bool {
        self.method != "GET"
    }
}

/// A step from a body to one of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    /// A value of a map, under this key.
    Key(String),
    /// The first item of a list.
    Item,
    /// That shape of several.
    Variant(usize),
}

/// A field of a body.
#[derive(Clone, Debug)]
pub struct Position {
    pub steps: Vec<Step>,
    pub schema: Value,
    pub required: bool,
}

impl Position {
    /// As problems name it: `disks[0].size_bytes`.
    pub fn name(&self) -> String {
        let mut out = String::new();
        for s in &self.steps {
            match s {
                Step::Field(n) | Step::Key(n) if out.is_empty() => out.push_str(n),
                Step::Field(n) | Step::Key(n) => out.push_str(&format!(".{n}")),
                Step::Item => out.push_str("[0]"),
                Step::Variant(_) => {}
            }
        }
        out
    }

    /// The last field's own name.
    pub fn last(&self) -> &str {
        self.steps.iter().rev().find_map(|s| if let Step::Field(n) | Step::Key(n) = s { Some(n.as_str()) } else { None }).unwrap_or_default()
    }
}

/// The document.
pub struct Document(Value);

impl Document {
    pub fn read() -> Document {
        Document(serde_json::from_str(&virga_api::v1::openapi_json()).unwrap())
    }

    pub fn operations(&self) -> Vec<Operation> {
        let mut out = Vec::new();
        for (path, methods) in self.0["paths"].as_object().unwrap() {
            for (method, o) in methods.as_object().unwrap() {
                let content = o["requestBody"]["content"].as_object();
                let json = content.and_then(|c| c.get("application/json")).map(|c| c["schema"].clone());
                out.push(Operation {
                    id: o["operationId"].as_str().unwrap().into(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                    parameters: o["parameters"].as_array().into_iter().flatten().map(parameter).collect(),
                    streams: content.is_some() && json.is_none(),
                    body: json,
                });
            }
        }
        out
    }

    /// The schema itself, behind references and single wrappers; whether `null` is allowed comes with it.
    pub fn resolve(&self, schema: &Value) -> Value {
        let nullable = schema["nullable"] == true;
        let inner = if let Some(r) = schema["$ref"].as_str() {
            self.resolve(&self.0["components"]["schemas"][r.rsplit('/').next().unwrap()])
        } else if let Some([one]) = schema["allOf"].as_array().map(Vec::as_slice) {
            self.resolve(one)
        } else {
            return schema.clone();
        };
        let mut inner = inner;
        if nullable {
            inner["nullable"] = json!(true);
        }
        inner
    }

    /// The shapes of a tagged enum: objects of which one fits.
    fn variants(&self, schema: &Value) -> Vec<Value> {
        let list = schema["oneOf"].as_array().or(schema["anyOf"].as_array()).cloned().unwrap_or_default();
        list.iter().map(|s| self.resolve(s)).filter(|s| s["type"] == "object").collect()
    }

    /// The words of an enum; empty when it is none.
    pub fn words(&self, schema: &Value) -> Vec<Value> {
        let schema = self.resolve(schema);
        let own = schema["enum"].as_array().cloned().unwrap_or_default();
        let of_variants =
            schema["oneOf"].as_array().into_iter().flatten().map(|s| self.resolve(s)).flat_map(|s| s["enum"].as_array().cloned().unwrap_or_default());
        own.into_iter().chain(of_variants).collect()
    }

    /// Every field below `schema`.
    pub fn positions(&self, schema: &Value) -> Vec<Position> {
        let mut out = Vec::new();
        self.walk(schema, &mut Vec::new(), &mut out);
        out
    }

    fn walk(&self, schema: &Value, steps: &mut Vec<Step>, out: &mut Vec<Position>) {
        let schema = self.resolve(schema);
        let mut go = |step: Step, inner: &Value, required: Option<bool>| {
            steps.push(step);
            if let Some(required) = required {
                out.push(Position { steps: steps.clone(), schema: self.resolve(inner), required });
            }
            self.walk(inner, steps, out);
            steps.pop();
        };
        let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            go(Step::Field(name.clone()), inner, Some(required.contains(&name.as_str())));
        }
        if schema["additionalProperties"].is_object() {
            go(Step::Key("k".into()), &schema["additionalProperties"], Some(true));
        }
        if schema["items"].is_object() {
            go(Step::Item, &schema["items"], Some(true));
        }
        for (i, v) in self.variants(&schema).iter().enumerate() {
            go(Step::Variant(i), v, None);
        }
    }

    /// A right value: `known` gives those that are of this installation.
    pub fn example(&self, schema: &Value, field: &str, known: &dyn Fn(&str) -> Option<Value>) -> Value {
        let schema = self.resolve(schema);
        if let Some(v) = known(field) {
            return v;
        }
        if let Some(word) = self.words(&schema).first().filter(|_| self.variants(&schema).is_empty()) {
            return word.clone();
        }
        if let Some(v) = self.variants(&schema).first() {
            return self.example(v, field, known);
        }
        match schema["type"].as_str().unwrap_or_default() {
            "string" if schema["format"] == "uuid" => json!("00000000-0000-4000-8000-000000000000"),
            "string" => json!("x"),
            "integer" | "number" => json!(1),
            "boolean" => json!(false),
            "array" => json!([]),
            _ => {
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                let fields = required.iter().filter_map(Value::as_str);
                Value::Object(fields.map(|n| (n.to_string(), self.example(&schema["properties"][n], n, known))).collect::<Map<_, _>>())
            }
        }
    }

    /// A right body in which [`LEAF`] stands at the end of `steps` (with `without`: in which that field is missing).
    pub fn body(&self, schema: &Value, field: &str, steps: &[Step], without: bool, known: &dyn Fn(&str) -> Option<Value>) -> Value {
        let Some((step, rest)) = steps.split_first() else { return json!(LEAF) };
        let resolved = self.resolve(schema);
        match step {
            Step::Variant(i) => self.body(&self.variants(&resolved)[*i], field, rest, without, &|f| if f == field { None } else { known(f) }),
            Step::Item => json!([self.body(&resolved["items"], field, rest, without, known)]),
            Step::Key(k) => json!({ k: self.body(&resolved["additionalProperties"], k, rest, without, known) }),
            Step::Field(n) => {
                let plain = |f: &str| if f == field { None } else { known(f) };
                let mut whole = self.example(&resolved, field, &plain);
                let object = whole.as_object_mut().unwrap();
                // A disk needs a size or an image, which a schema cannot say.
                if resolved["properties"]["size_bytes"].is_object() && !matches!(n.as_str(), "size_bytes" | "image") {
                    object.extend(known("size_bytes").map(|v| ("size_bytes".to_string(), v)));
                }
                if without && rest.is_empty() {
                    object.remove(n);
                } else {
                    object.insert(n.clone(), self.body(&resolved["properties"][n], n, rest, without, known));
                }
                whole
            }
        }
    }
}

fn parameter(p: &Value) -> Parameter {
    let place = match p["in"].as_str().unwrap() {
        "path" => Place::Path,
        "query" => Place::Query,
        "header" => Place::Header,
        other => panic!("a parameter in {other}: teach the generator about it"),
    };
    Parameter { name: p["name"].as_str().unwrap().into(), place, schema: p["schema"].clone() }
}
