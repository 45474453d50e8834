//! `/api/openapi.json`: the calls of the API, made from the one list of them.

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{
    ROUTES, Route,
    answer::{Answer, ok},
    schemas,
};
use crate::base::limits;

/// Headers that a call reads besides those of all.
const IN_HEADER: [(&str, &str, &str); 1] = [("patch", "/sites/{name}/settings", "If-Match")];

pub(super) async fn document() -> Answer {
    let response: Response = ok(&build())?;
    Ok(response)
}

fn build() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let calls = paths.entry(format!("/api/v1{}", route.path)).or_insert_with(|| json!({}));
        if let Some(calls) = calls.as_object_mut() {
            calls.insert(route.method.to_owned(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Chain Host",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Times are RFC 3339 in UTC. Lists are {items, next}: ask again with `after` set to `next` until it is null. \
                            The scope of a key is `read` (look), `deploy` (look, deploy, make sites) or `all` (what its user may).",
        },
        "security": [{ "key": [] }],
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "description": "An API key, ch_…" } },
            "schemas": schemas::all(),
        },
        "paths": paths,
    })
}

fn operation(route: &Route) -> Value {
    let names = route.path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = route.query.split_whitespace().map(|name| {
        let required = name == "against";
        json!({ "name": name, "in": "query", "required": required, "schema": parameter(name) })
    });
    let in_header = IN_HEADER.iter().filter(|it| (it.0, it.1) == (route.method, route.path));
    let in_header = in_header
        .map(|(_, _, name)| json!({ "name": name, "in": "header", "required": false, "schema": { "type": "string" } }));
    let mut operation = json!({
        "summary": route.summary,
        "operationId": format!("{}{}", route.method, route.path.replace(['/', '{', '}'], "_")),
        "parameters": in_path.chain(in_query).chain(in_header).collect::<Vec<_>>(),
        "responses": responses(route.answer),
    });
    if let (Some(operation), Some(body)) = (operation.as_object_mut(), body(route.body)) {
        operation.insert(String::from("requestBody"), body);
    }
    operation
}

/// The type of a parameter of a query.
fn parameter(name: &str) -> Value {
    match name {
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": limits::PAGE_ROWS_MAX, "default": 50 }),
        "publish" => json!({ "type": "boolean", "default": true }),
        "from" | "to" => json!({ "type": "string", "format": "date-time" }),
        "step" => json!({ "type": "string", "enum": ["minute", "hour", "day"], "default": "hour" }),
        "allow_env" => json!({ "type": "boolean", "default": false }),
        _ => json!({ "type": "string" }),
    }
}

fn body(of: &str) -> Option<Value> {
    let (media_type, schema) = match of {
        "" => return None,
        of if of.contains('/') => (of, json!({})),
        of => ("application/json", schemas::schema(of)),
    };
    let of_json = media_type == "application/json";
    // A body whose fields may all be left out may be left out itself.
    let needed = schemas::SENT.iter().find(|(name, _)| *name == of).is_none_or(|(_, fields)| {
        fields.iter().filter_map(|it| it.split_once(": ")).any(|(name, _)| !name.ends_with('?'))
    });
    Some(json!({ "required": needed || !of_json, "content": { media_type: { "schema": schema } } }))
}

fn responses(answer: &str) -> Value {
    let (status, of) = answer.split_once(' ').unwrap_or((answer, ""));
    let good = match of {
        "" => json!({ "description": "Done" }),
        of => {
            let schema = match of.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                Some(item) => json!({
                    "type": "object",
                    "required": ["items", "next"],
                    "properties": { "items": schemas::schema(&format!("[{item}]")), "next": schemas::schema("string?") },
                }),
                None => schemas::schema(of),
            };
            json!({ "description": "Done", "content": { "application/json": { "schema": schema } } })
        }
    };
    json!({
        status: good,
        "default": {
            "description": "A problem (RFC 9457)",
            "content": { "application/problem+json": { "schema": schemas::schema("Problem") } },
        },
    })
}

#[cfg(test)]
mod tests;
