//! Which operation a method and a path mean, from the same declaration as the API's document.

use crate::http::authz;
use http::Method;
use percent_encoding::percent_decode_str;
use std::collections::{BTreeMap, HashMap};
use virga_api::v1::virga_api_mod;
use virga_model::{Error, ErrorCode};

/// Paths longer than any of ours are not taken apart.
const SEGMENTS_MAX: usize = 16;

/// An operation, as routing knows it.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its name in the API's document.
    pub operation: &'static str,
    /// Largest body, if it is another than usual.
    pub body_bytes_max: Option<usize>,
}

/// A path's part: what may follow, and what is here.
#[derive(Default)]
struct Node {
    literals: HashMap<String, Node>,
    variable: Option<(String, Box<Node>)>,
    /// By method. Sorted, for the header `Allow`.
    routes: BTreeMap<String, Route>,
}

/// All operations.
pub struct Router(Node);

/// Why there is no operation.
#[derive(Debug)]
pub enum Unrouted {
    /// No such path.
    Path,
    /// A path that is no path.
    Malformed,
    /// Not with this method; those that there are.
    Method(String),
}

/// An operation with the variable parts of its path.
pub type Routed = (Route, Vec<(String, String)>);

impl Router {
    /// The router of the declared API.
    ///
    /// # Errors
    /// Internal, when declaration and authorization table do not fit.
    pub fn new() -> Result<Router, Error> {
        let api = virga_api_mod::stub_api_description().map_err(|e| Error::internal(format!("The API is not consistent: {e}")))?;
        let mut root = Node::default();
        for (path, method, endpoint) in api.into_router().endpoints(None) {
            let entry = authz::find(&endpoint.operation_id);
            let entry = entry.ok_or_else(|| Error::internal(format!("The operation {} is not in the authorization table.", endpoint.operation_id)))?;
            let route = Route { operation: entry.name, body_bytes_max: endpoint.request_body_max_bytes };
            root.at(&path).routes.insert(method, route);
        }
        Ok(Router(root))
    }

    /// The operation of a request.
    ///
    /// # Errors
    /// See [`Unrouted`].
    pub fn find(&self, method: &Method, path: &str) -> Result<Routed, Unrouted> {
        let (mut node, mut variables) = (&self.0, Vec::new());
        for (n, part) in path.split('/').filter(|p| !p.is_empty()).enumerate() {
            // Dots have no meaning here, and whoever sends them means something else by them.
            if part == "." || part == ".." {
                return Err(Unrouted::Malformed);
            }
            if n == SEGMENTS_MAX {
                return Err(Unrouted::Path);
            }
            let part = percent_decode_str(part).decode_utf8().map_err(|_| Unrouted::Malformed)?;
            node = match (node.literals.get(&*part), &node.variable) {
                (Some(next), _) => next,
                (None, Some((name, next))) => {
                    variables.push((name.clone(), part.into_owned()));
                    next
                }
                (None, None) => return Err(Unrouted::Path),
            };
        }
        match node.routes.get(method.as_str()) {
            Some(route) => Ok((*route, variables)),
            None if node.routes.is_empty() => Err(Unrouted::Path),
            None => Err(Unrouted::Method(node.routes.keys().cloned().collect::<Vec<_>>().join(", "))),
        }
    }
}

impl Node {
    /// The node of a declared path.
    fn at(&mut self, path: &str) -> &mut Node {
        let mut node = self;
        for part in path.split('/').filter(|p| !p.is_empty()) {
            node = match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                Some(name) => &mut node.variable.get_or_insert_with(|| (name.to_string(), Box::default())).1,
                None => node.literals.entry(part.to_string()).or_default(),
            };
        }
        node
    }
}

impl Unrouted {
    /// What to tell the caller: an error, its status, and the methods that there are.
    #[must_use]
    pub fn told(self, method: &Method) -> (u16, Error, Option<String>) {
        let hint = "GET /v1/openapi.json lists all paths.";
        match self {
            Unrouted::Path => (404, Error::new(ErrorCode::NotFound, "There is no such path.").with_hint(hint), None),
            Unrouted::Malformed => (400, Error::malformed("The path cannot be read.").with_hint(hint), None),
            Unrouted::Method(allowed) => {
                let method = virga_model::name::shown(method.as_str());
                (405, Error::malformed(format!("This path does not take {method}.")).with_hint(hint), Some(allowed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_at_its_path() {
        let router = Router::new().unwrap();
        let api = virga_api_mod::stub_api_description().unwrap().into_router();
        let mut n = 0;
        for (path, method, endpoint) in api.endpoints(None) {
            let (route, variables) = router.find(&method.parse().unwrap(), &path.replace(['{', '}'], "")).unwrap();
            assert_eq!(route.operation, endpoint.operation_id);
            assert_eq!(variables.len(), path.matches('{').count(), "{path}");
            n += 1;
        }
        assert_eq!(n, authz::TABLE.len());
    }

    #[test]
    fn paths_are_decoded_and_judged() {
        let router = Router::new().unwrap();
        let found = router.find(&Method::GET, "/v1/vms/a%2Fb").unwrap();
        assert_eq!((found.0.operation, found.1), ("vm_view", vec![("vm".to_string(), "a/b".to_string())]));
        assert!(matches!(router.find(&Method::GET, "/v1/nothing"), Err(Unrouted::Path)));
        assert!(matches!(router.find(&Method::GET, "/v1"), Err(Unrouted::Path)));
        assert!(matches!(router.find(&Method::GET, &"/v1".repeat(10_000)), Err(Unrouted::Path)));
        assert!(matches!(router.find(&Method::GET, "/v1/vms/.."), Err(Unrouted::Malformed)));
        assert!(matches!(router.find(&Method::GET, "/v1/vms/%ff"), Err(Unrouted::Malformed)));
        assert!(matches!(router.find(&Method::PUT, "/v1/vms"), Err(Unrouted::Method(m)) if m == "GET, POST"));
    }
}
