//! What is announced is what handlers read: their source is held against the table.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const SOURCES: [(&str, &str); 15] = [
    ("bans", include_str!("../bans.rs")),
    ("caller", include_str!("../caller.rs")),
    ("certificates", include_str!("../certificates.rs")),
    ("deployments", include_str!("../deployments.rs")),
    ("doctor", include_str!("../doctor.rs")),
    ("edge", include_str!("../edge.rs")),
    ("jobs", include_str!("../jobs.rs")),
    ("people", include_str!("../people.rs")),
    ("rules", include_str!("../rules.rs")),
    ("schedules", include_str!("../schedules.rs")),
    ("server", include_str!("../server.rs")),
    ("site_guests", include_str!("../site_guests.rs")),
    ("site_settings", include_str!("../site_settings.rs")),
    ("sites", include_str!("../sites.rs")),
    ("traffic", include_str!("../traffic.rs")),
];

/// The structs and functions of the sources.
struct Code {
    /// By name: fields, and whether each may be left out.
    structs: BTreeMap<String, Vec<(String, bool)>>,
    /// By `module::name`: the types of the arguments.
    handlers: BTreeMap<String, Vec<String>>,
}

/// A type as it is written, without blanks.
fn spell(of: &syn::Type) -> String {
    match of {
        syn::Type::Path(it) => {
            let last = it.path.segments.last().unwrap();
            let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return last.ident.to_string() };
            let arguments = arguments.args.iter().filter_map(|it| match it {
                syn::GenericArgument::Type(it) => Some(spell(it)),
                _ => None,
            });
            format!("{}<{}>", last.ident, arguments.collect::<Vec<_>>().join(","))
        }
        syn::Type::Tuple(it) => format!("({})", it.elems.iter().map(spell).collect::<Vec<_>>().join(",")),
        _ => String::from("?"),
    }
}

fn has_default(attribute: &syn::Attribute) -> bool {
    attribute.meta.require_list().is_ok_and(|it| it.path.is_ident("serde") && it.tokens.to_string().contains("default"))
}

fn read() -> Code {
    let mut code = Code { structs: BTreeMap::new(), handlers: BTreeMap::new() };
    for (module, source) in SOURCES.into_iter().chain([("uploads", include_str!("../uploads.rs"))]) {
        for item in syn::parse_file(source).unwrap().items {
            match item {
                syn::Item::Struct(it) => {
                    let fields = it.fields.iter().filter_map(|field| {
                        let may_lack = spell(&field.ty).starts_with("Option<") || field.attrs.iter().any(has_default);
                        Some((field.ident.as_ref()?.to_string(), may_lack))
                    });
                    code.structs.insert(it.ident.to_string(), fields.collect());
                }
                syn::Item::Fn(it) => {
                    let arguments = it.sig.inputs.iter().filter_map(|it| match it {
                        syn::FnArg::Typed(it) => Some(spell(&it.ty)),
                        syn::FnArg::Receiver(_) => None,
                    });
                    code.handlers.insert(format!("{module}::{}", it.sig.ident), arguments.collect());
                }
                _ => {}
            }
        }
    }
    code
}

fn inner<'t>(of: &'t str, wrapper: &str) -> Option<&'t str> {
    of.strip_prefix(wrapper)?.strip_prefix('<')?.strip_suffix('>')
}

#[test]
fn handlers_read_what_is_announced() {
    let code = read();
    for route in ROUTES {
        let name = route.name.replace(' ', "");
        let arguments = &code.handlers[&name];
        let queries = arguments.iter().filter_map(|it| inner(it, "Params"));
        let read: BTreeSet<&str> = queries.flat_map(|it| &code.structs[it]).map(|(name, _)| name.as_str()).collect();
        assert_eq!(read, route.query.split_whitespace().collect(), "{name}: the query");
        let in_path: usize =
            arguments.iter().filter_map(|it| inner(it, "Path")).map(|it| it.matches("String").count()).sum();
        assert_eq!(route.path.matches('{').count(), in_path, "{name}: the path");
        let raw = arguments.iter().any(|it| it == "Body");
        match arguments.iter().find_map(|it| inner(it, "Json")) {
            Some(of) => assert_eq!(route.body, of, "{name}: the body"),
            None if name == "uploads::begin" => {
                // It reads its body itself, beside other requests.
                assert!(raw && include_str!("../uploads.rs").contains("let asked: Begin = read(body)?;"));
                assert_eq!(route.body, "Begin");
            }
            None => assert_eq!(raw, route.body.contains('/'), "{name}: the body"),
        }
    }
}

#[test]
fn bodies_have_the_fields_that_are_announced() {
    let code = read();
    let announced: BTreeSet<&str> = schemas::SENT.iter().map(|(name, _)| *name).collect();
    let used: BTreeSet<&str> =
        ROUTES.iter().map(|it| it.body).filter(|it| !it.is_empty() && !it.contains('/')).collect();
    assert_eq!(announced, used);
    for (name, fields) in schemas::SENT {
        let wanted: Vec<(String, bool)> = fields
            .iter()
            .map(|it| it.split_once(": ").unwrap().0)
            .map(|it| (it.trim_end_matches('?').to_owned(), it.ends_with('?')))
            .collect();
        assert_eq!(code.structs[*name], wanted, "{name}");
    }
}

#[test]
fn every_call_is_in_the_document_and_every_reference_leads_somewhere() {
    let document = build();
    let calls: usize = document["paths"].as_object().unwrap().values().map(|it| it.as_object().unwrap().len()).sum();
    assert_eq!(calls, ROUTES.len());
    let publish = &document["paths"]["/api/v1/sites/{name}/deployments/{deployment}/publish"]["post"];
    assert_eq!(publish["parameters"].as_array().unwrap().len(), 2);
    assert_eq!(publish["requestBody"]["required"], false);
    let known = document["components"]["schemas"].as_object().unwrap();
    let written = document.to_string();
    let mut used = BTreeSet::new();
    for reference in written.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(known.contains_key(name), "{name}");
        used.insert(name);
    }
    assert_eq!(used.len(), known.len(), "a shape that nothing uses");
}
