//! The routes and the list of them: one table, so that no route is there without being listed.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, patch, post, put};

use crate::Deps;

/// A method and the path it is served at, with its parameters in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// `DELETE`, `GET`, `PATCH`, `POST` or `PUT`.
    pub method: &'static str,
    /// Path.
    pub path: &'static str,
}

#[derive(Default)]
pub(crate) struct Doors {
    pub(crate) router: Router<Deps>,
    pub(crate) listed: Vec<Route>,
}

impl Doors {
    pub(crate) fn get<H: Handler<T, Deps>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("GET", path, get(handler))
    }

    pub(crate) fn post<H: Handler<T, Deps>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("POST", path, post(handler))
    }

    pub(crate) fn put<H: Handler<T, Deps>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("PUT", path, put(handler))
    }

    pub(crate) fn patch<H: Handler<T, Deps>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("PATCH", path, patch(handler))
    }

    pub(crate) fn withdraw<H: Handler<T, Deps>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("DELETE", path, delete(handler))
    }

    fn add(mut self, method: &'static str, path: &'static str, handler: MethodRouter<Deps>) -> Self {
        self.router = self.router.route(path, handler);
        self.listed.push(Route { method, path });
        self
    }
}
