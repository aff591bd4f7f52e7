//! A process that does what its first message orders: three numbers, little-endian, which are a
//! role, the process to write to and a count of messages. The bench has the same in native code.

wit_bindgen::generate!({ path: "wit", world: "guest" });

use rusm::runtime::actor::{receive, send};

struct Process;
export!(Process);

const PING: u64 = 0;
const PONG: u64 = 1;
const SINK: u64 = 2;

impl Guest for Process {
    fn run() {
        let order = receive();
        let number = |i: usize| u64::from_le_bytes(order[8 * i..8 * i + 8].try_into().unwrap());
        let (role, peer, count) = (number(0), number(1), number(2));
        match role {
            PING => (0..count).for_each(|_| {
                send(peer, &[7; 16]);
                receive();
            }),
            PONG => (0..count).for_each(|_| send(peer, &receive())),
            SINK => (0..count).for_each(|_| drop(receive())),
            _ => {}
        }
    }
}
