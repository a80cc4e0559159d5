//! The manager: public API, tasks, placement, events. It keeps nothing that it cannot rebuild from rows and reports.
//!
//! One file per noun says what the product does (`vm/`, `host.rs`, …); `http/` holds the handlers, ten lines each;
//! `task/` is the only place that changes anything on a node; `loops/` decide and create tasks; `node/` speaks with
//! agents. SQL is in `virga-store` only. The manager must never conclude from silence that something stopped.

pub mod anchor;
pub mod audit;
pub mod auth;
pub mod backup;
pub mod ca;
pub mod config;
pub mod console;
pub mod copies;
pub mod data_store;
pub mod demo;
pub mod event;
pub mod fetch;
pub mod first;
pub mod front;
pub mod host;
pub mod http;
pub mod image;
pub mod limit;
pub mod list;
pub mod loops;
pub mod managers;
pub mod metrics;
pub mod network;
pub mod node;
pub mod password;
pub mod portal;
pub mod schedule;
pub mod secret;
pub mod serve;
pub mod session;
pub mod state;
pub mod stream;
pub mod supervise;
pub mod system;
pub mod task;
pub mod task_api;
pub mod task_new;
pub mod template;
pub mod token;
pub mod user;
pub mod view;
pub mod vm;
mod wall_clock;
mod zone;
