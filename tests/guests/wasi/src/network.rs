//! Sockets and names. `Held` keeps sockets open between messages.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use guest_kit::{Args, Render, Reply, WasmError, text};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest};
use wasip2::sockets::ip_name_lookup::{ResolveAddressStream, resolve_addresses};
use wasip2::sockets::network::{
    ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::udp::{OutgoingDatagram, UdpSocket as RawUdpSocket};
use wasip2::sockets::{instance_network, tcp_create_socket, udp_create_socket};

use crate::failure::{Failure, done, keep, show};

pub const COMMANDS: &[&str] = &[
    "connect",
    "listen",
    "resolve",
    "resolve-then-connect",
    "tcp-send",
    "hold-connection",
    "use-connection",
    "hold-listener",
    "accept",
    "udp-bind",
    "udp-receive",
    "udp-use",
    "http",
    "udp-send",
    "udp-connect",
    "udp-mixed",
    "udp-large",
    "connections",
    "lookups",
    "sockets",
];

#[derive(Default)]
struct Held {
    connection: Option<TcpStream>,
    listener: Option<TcpListener>,
    udp: Option<UdpSocket>,
    connections: Vec<TcpStream>,
    lookups: Vec<ResolveAddressStream>,
    tcp_sockets: Vec<TcpSocket>,
    udp_sockets: Vec<RawUdpSocket>,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

pub fn handle(command: &str, args: Args<'_>) -> Reply {
    HELD.with_borrow_mut(|held| act(command, args, held))
}

fn act(command: &str, mut args: Args<'_>, held: &mut Held) -> Reply {
    match command {
        "connect" => done(TcpStream::connect(args.word()?).map(drop)),
        "listen" => done(TcpListener::bind(args.word()?).map(drop)),
        "resolve" => show(resolve(args.word()?), |addresses| addresses.join("\n")),
        "resolve-then-connect" => {
            let (name, address) = (args.word()?, args.word()?);
            let resolved = line(resolve(name).map(|addresses| addresses.join(" ")));
            let connected = line(TcpStream::connect(address).map(|_| "ok".into()));
            text(format!("resolve {resolved}\nconnect {connected}"))
        }
        "tcp-send" => {
            let stream = TcpStream::connect(args.word()?);
            show(stream.and_then(|mut stream| exchange(&mut stream, args.rest())), |answer| answer)
        }
        "hold-connection" => {
            done(TcpStream::connect(args.word()?).map(|stream| held.connection = Some(stream)))
        }
        "use-connection" => {
            let stream = held.connection.as_mut().ok_or_else(nothing_held);
            show(stream.and_then(|stream| talk(stream, args.rest())), |answer| answer)
        }
        "hold-listener" => show(TcpListener::bind(args.word()?), |listener| {
            let address = line(listener.local_addr().map(|address| address.to_string()));
            held.listener = Some(listener);
            address
        }),
        "accept" => {
            let accepted =
                held.listener.as_ref().ok_or_else(nothing_held).and_then(TcpListener::accept);
            let answer = accepted.and_then(|(mut stream, _)| exchange(&mut stream, args.rest()));
            show(answer, |answer| answer)
        }
        "udp-bind" => show(UdpSocket::bind(args.word()?), |socket| {
            let address = line(socket.local_addr().map(|address| address.to_string()));
            held.udp = Some(socket);
            address
        }),
        "udp-receive" => {
            let socket = held.udp.as_ref().ok_or_else(nothing_held);
            show(socket.and_then(receive), |datagram| datagram)
        }
        "udp-use" => {
            let remote = address(&mut args)?;
            let socket = held.udp.as_ref().ok_or_else(nothing_held);
            show(socket.and_then(|socket| socket.send_to(args.rest(), remote)), |n| n.to_string())
        }
        "http" => {
            let request = OutgoingRequest::new(Fields::new());
            let authority = request.set_authority(Some(args.word()?));
            let asked = authority.is_ok() && outgoing_handler::handle(request, None).is_ok();
            text(if asked { "ok" } else { "error: refused" })
        }
        "udp-send" => {
            let remote = address(&mut args)?;
            let sent = unbound(remote).and_then(|socket| socket.send_to(args.rest(), remote));
            show(sent, |size| size.to_string())
        }
        "udp-connect" => {
            let remote = address(&mut args)?;
            let sent = unbound(remote).and_then(|socket| {
                socket.connect(remote)?;
                socket.send(args.rest())
            });
            show(sent, |size| size.to_string())
        }
        "udp-mixed" => {
            let (content, mut remotes) = (args.word()?, Vec::new());
            while let Ok(remote) = address(&mut args) {
                remotes.push(remote);
            }
            show(send_mixed(content.as_bytes(), &remotes), |sent| sent.to_string())
        }
        "udp-large" => {
            let (count, size, remote) = (args.number()?, args.number()?, address(&mut args)?);
            let content = vec![b'x'; size];
            show(send_mixed(&content, &vec![remote; count]), |sent| sent.to_string())
        }
        "connections" => {
            let (count, remote) = (args.number()?, address(&mut args)?);
            keep(&mut held.connections, count, || TcpStream::connect(remote))
        }
        "lookups" => {
            let (count, name) = (args.number()?, args.word()?);
            let network = instance_network::instance_network();
            keep(&mut held.lookups, count, || resolve_addresses(&network, name))
        }
        "sockets" => {
            let (kind, count, family) = (args.word()?, args.number()?, IpAddressFamily::Ipv4);
            match kind {
                "tcp" => keep(&mut held.tcp_sockets, count, || {
                    tcp_create_socket::create_tcp_socket(family)
                }),
                "udp" => keep(&mut held.udp_sockets, count, || {
                    udp_create_socket::create_udp_socket(family)
                }),
                other => Args::unknown(other),
            }
        }
        other => Args::unknown(other),
    }
}

fn resolve(host: &str) -> io::Result<Vec<String>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip().to_string()).collect())
}

/// A result as part of a longer reply.
fn line(result: io::Result<String>) -> String {
    result.unwrap_or_else(|error| format!("error: {}", Failure::from(error).render()))
}

fn nothing_held() -> io::Error {
    io::Error::other("nothing is held")
}

fn address(args: &mut Args<'_>) -> Result<SocketAddr, WasmError> {
    args.number()
}

/// Writes, then reads to the end.
fn exchange(stream: &mut TcpStream, content: &[u8]) -> io::Result<String> {
    stream.write_all(content)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into())
}

/// Writes, then reads once.
fn talk(stream: &mut TcpStream, content: &[u8]) -> io::Result<String> {
    stream.write_all(content)?;
    let mut answer = [0; 4096];
    let size = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..size]).into())
}

fn receive(socket: &UdpSocket) -> io::Result<String> {
    let mut datagram = [0; 4096];
    let (size, sender) = socket.recv_from(&mut datagram)?;
    Ok(format!("{sender} {}", String::from_utf8_lossy(&datagram[..size])))
}

/// A socket that can send to `remote`, bound to an address that the system chooses.
fn unbound(remote: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(any(remote))
}

fn any(remote: SocketAddr) -> SocketAddr {
    let local: IpAddr = if remote.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    (local, 0).into()
}

/// Passes all datagrams to WASI in one call. The standard library never does that.
fn send_mixed(content: &[u8], remotes: &[SocketAddr]) -> Result<u64, ErrorCode> {
    let family = if remotes.iter().all(SocketAddr::is_ipv4) {
        IpAddressFamily::Ipv4
    } else {
        IpAddressFamily::Ipv6
    };
    let socket = udp_create_socket::create_udp_socket(family)?;
    if let Some(remote) = remotes.first() {
        socket.start_bind(&instance_network::instance_network(), to_wasi(any(*remote)))?;
        socket.finish_bind()?;
    }
    let (_incoming, outgoing) = socket.stream(None)?;
    while outgoing.check_send()? == 0 {
        outgoing.subscribe().block();
    }
    let datagrams: Vec<_> = remotes
        .iter()
        .map(|remote| OutgoingDatagram {
            data: content.to_vec(),
            remote_address: Some(to_wasi(*remote)),
        })
        .collect();
    outgoing.send(&datagrams)
}

fn to_wasi(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(v4) => IpSocketAddress::Ipv4(Ipv4SocketAddress {
            port: v4.port(),
            address: v4.ip().octets().into(),
        }),
        SocketAddr::V6(v6) => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: v6.port(),
            flow_info: v6.flowinfo(),
            address: v6.ip().segments().into(),
            scope_id: v6.scope_id(),
        }),
    }
}
