//! `/api/openapi.json`: the calls of the API, made from the one list of them.

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{
    ROUTES, Route,
    answer::{Answer, ok},
};

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
            "description": "Times are RFC 3339 in UTC. Lists are {items, next}; ask with ?limit (1 to 200) and ?after.",
        },
        "security": [{ "key": [] }],
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "description": "An API key, ch_…" } },
            "schemas": { "Problem": problem() },
        },
        "paths": paths,
    })
}

fn operation(route: &Route) -> Value {
    let names = route.path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if route.method == "get" && !route.path.ends_with('}') {
        for (name, schema) in [
            ("limit", json!({ "type": "integer", "minimum": 1, "maximum": 200 })),
            ("after", json!({ "type": "string" })),
        ] {
            parameters.push(json!({ "name": name, "in": "query", "required": false, "schema": schema }));
        }
    }
    json!({
        "summary": route.summary,
        "operationId": format!("{}{}", route.method, route.path.replace(['/', '{', '}'], "_")),
        "parameters": parameters,
        "responses": {
            "2XX": { "description": "Done" },
            "default": {
                "description": "A problem (RFC 9457)",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            },
        },
    })
}

fn problem() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": text, "title": text, "status": { "type": "integer" }, "detail": text, "code": text, "field": text,
            "request_id": text,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_in_the_document() {
        let document = build();
        let calls: usize =
            document["paths"].as_object().unwrap().values().map(|it| it.as_object().unwrap().len()).sum();
        assert_eq!(calls, ROUTES.len());
        let publish = &document["paths"]["/api/v1/sites/{name}/deployments/{deployment}/publish"]["post"];
        assert_eq!(publish["parameters"].as_array().unwrap().len(), 2);
    }
}
