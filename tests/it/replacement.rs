//! A new plan: requests in flight finish on the old one, the next ones use the new.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use crate::support::{Backend, Gateway, PATIENCE, Reply, TOKEN, http2_post, text};

fn token_line() -> String {
    format!("verification-token: {TOKEN}\r\n")
}

#[test]
fn a_request_in_flight_finishes_on_its_own_plan() {
    let (release, released) = channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let old = Backend::with(move |_| {
        released.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        Reply::Ok("old")
    });
    let new = Backend::with(|_| Reply::Ok("new"));
    let mut gateway = Gateway::before(&old);
    let mut connection = gateway.connect();
    connection.post(&token_line(), b"{}");
    old.wait_for(1);
    gateway
        .reload(&text(&format!("http://{}", new.address()), "", ""))
        .unwrap();
    assert_eq!(
        gateway.connect().post(&token_line(), b"{}").answer().text(),
        "new"
    );
    release.send(()).unwrap();
    assert_eq!(connection.answer().text(), "old");
    assert_eq!(
        connection.post(&token_line(), b"{}").answer().text(),
        "new",
        "on the same connection"
    );
    assert_eq!(gateway.finish().outcomes(), [("forwarded", ""); 3]);
}

/// The body is judged by the cap of the plan that the request began with.
#[test]
fn limits_change_with_the_plan() {
    let backend = Backend::ok();
    let mut gateway = Gateway::before(&backend);
    let url = format!("http://{}", backend.address());
    let body = [b'x'; 6000];
    let mut connection = gateway.connect();
    let mut http2 = gateway.connect_http2();
    connection.send(format!(
        "POST /redox HTTP/1.1\r\nHost: a\r\n{}Content-Length: 6000\r\n\r\n",
        token_line()
    ));
    connection.send(&body[..5000]);
    while backend.connections() == 0 {
        std::thread::yield_now();
    }
    gateway
        .reload(&text(&url, "", "limits: { body: 5KiB }"))
        .unwrap();
    connection.send(&body[5000..]);
    assert_eq!(connection.answer().status, 200);
    assert_eq!(connection.post(&token_line(), &body).answer().status, 413);
    let request = http2_post(&[("verification-token", TOKEN)], &body);
    assert_eq!(http2.request(request).unwrap().status, 413);
}

#[test]
fn a_route_that_is_gone_is_gone() {
    let backend = Backend::ok();
    let mut gateway = Gateway::before(&backend);
    let mut connection = gateway.connect();
    assert_eq!(connection.post(&token_line(), b"{}").answer().status, 200);
    let url = format!("http://{}", backend.address());
    gateway.reload(&text(&url, "", "path: /other")).unwrap();
    assert_eq!(connection.post(&token_line(), b"{}").answer().status, 404);
    let story = gateway.finish();
    assert_eq!(
        story.outcomes(),
        [("forwarded", ""), ("rejected", "no_route")]
    );
}
