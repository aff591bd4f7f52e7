//! A server of the host that components try to reach.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use crate::harness::stage::{Guest, Stage};

/// A server on localhost.
pub struct Server(TcpListener);

impl Server {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub fn port(&self) -> u16 {
        self.address().port()
    }

    #[track_caller]
    pub fn assert_unreached(&self, attempt: &str) {
        let accepted = self.0.accept();
        assert!(accepted.is_err(), "{attempt}: somebody connected: {accepted:?}");
    }

    #[track_caller]
    pub fn assert_reached(&self) {
        self.0.accept().expect("somebody connected");
    }
}

pub fn outbound(stage: &Stage, grants: Value) -> Guest {
    stage.load("app/thief/0", "wasi", json!({"network": {"outbound": grants}}))
}
