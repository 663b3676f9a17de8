//! The play: what a sender may say, right and wrong, and what must come of it.

use super::backend::Backend;
use super::sender::{Answer, Sender};
use crate::cli::print;

/// One scene.
struct Scene {
    name: &'static str,
    line: String,
    fields: String,
    body: String,
    /// Announced length where it is not the body's own.
    announced: Option<u64>,
    status: u16,
    answer: Option<&'static str>,
    reaches_backend: bool,
}

const CHALLENGE: &str = "2f7a1c2e-5d0b-4b1c-9c58-demo";
const MESSAGE: &str = r#"{"Meta":{"DataModel":"PatientAdmin","EventType":"Arrival","Test":true},"Patient":{"Identifiers":[]}}"#;
/// Above the gateway's cap, which is above the 40 MB that Redox sends.
const OVERSIZED: u64 = 50 * 1024 * 1024;

/// Plays every scene and prints what came of each; `true` if all went as they must.
pub(super) fn play(sender: &Sender, backend: &Backend, token: &str) -> bool {
    let scenes = scenes(token);
    let total = scenes.len();
    let right = scenes
        .iter()
        .filter(|scene| perform(scene, sender, backend))
        .count();
    print(&format!(
        "\n{right} of {total} verdicts right; the backend got {} requests\n",
        backend.requests()
    ));
    right == total
}

fn perform(scene: &Scene, sender: &Sender, backend: &Backend) -> bool {
    let before = backend.requests();
    let length = u64::try_from(scene.body.len()).unwrap_or(u64::MAX);
    let sent = sender.send(
        &scene.line,
        &scene.fields,
        &scene.body,
        scene.announced.unwrap_or(length),
    );
    let reached = backend.requests() - before;
    let (right, came_back) = match &sent {
        Ok(answer) => (
            is_right(scene, answer, reached),
            format!("{} {}", answer.status, answer.body),
        ),
        Err(error) => (false, format!("no answer: {error}")),
    };
    let mark = if right { "ok  " } else { "FAIL" };
    let saw = if reached == 0 {
        "saw nothing".to_owned()
    } else {
        format!("saw {}", backend.last())
    };
    print(&format!(
        "{mark}  {:<44} -> {came_back:<36} backend {saw}\n",
        scene.name
    ));
    right
}

fn is_right(scene: &Scene, answer: &Answer, reached: usize) -> bool {
    answer.status == scene.status
        && reached == usize::from(scene.reaches_backend)
        && scene.answer.is_none_or(|body| answer.body == body)
        && (scene.answer.is_some() || !answer.body.contains(CHALLENGE))
}

fn scenes(token: &str) -> Vec<Scene> {
    let mut scenes = challenges(token);
    scenes.extend(messages(token));
    scenes
}

fn scene(name: &'static str, status: u16) -> Scene {
    Scene {
        name,
        line: "POST /redox".to_owned(),
        fields: String::new(),
        body: MESSAGE.to_owned(),
        announced: None,
        status,
        answer: None,
        reaches_backend: false,
    }
}

fn challenges(token: &str) -> Vec<Scene> {
    let by_post =
        |token: &str| format!(r#"{{"verification-token":"{token}","challenge":"{CHALLENGE}"}}"#);
    let by_get =
        |token: &str| format!("GET /redox?challenge={CHALLENGE}&verification-token={token}");
    vec![
        Scene {
            body: by_post(token),
            answer: Some(CHALLENGE),
            ..scene("challenge by POST", 200)
        },
        Scene {
            line: by_get(token),
            body: String::new(),
            answer: Some(CHALLENGE),
            ..scene("challenge by GET", 200)
        },
        Scene {
            body: by_post("not-the-right-token"),
            ..scene("challenge by POST, wrong token", 401)
        },
        Scene {
            line: by_get("not-the-right-token"),
            body: String::new(),
            ..scene("challenge by GET, wrong token", 401)
        },
    ]
}

fn messages(token: &str) -> Vec<Scene> {
    let good = format!("verification-token: {token}\r\n");
    let wrong = "verification-token: not-the-right-token-at-all\r\n".to_owned();
    let alias = good.replace("verification-token", "verification_token");
    let in_url = format!("POST /redox?verification-token={token}");
    let with = |fields: &str, scene: Scene| Scene {
        fields: fields.to_owned(),
        ..scene
    };
    let line = |line: &str, scene: Scene| Scene {
        line: line.to_owned(),
        ..scene
    };
    vec![
        Scene {
            answer: Some("stored"),
            reaches_backend: true,
            ..with(&good, scene("message with the token", 200))
        },
        scene("message without a token", 401),
        with(&wrong, scene("message with a wrong token", 401)),
        with(
            &(good.clone() + &wrong),
            scene("message with two tokens, good and bad", 401),
        ),
        with(
            &(wrong + &good),
            scene("message with two tokens, bad and good", 401),
        ),
        with(&alias, scene("token under an underscore alias", 400)),
        line(
            &in_url,
            scene("message with the token in the URL only", 401),
        ),
        Scene {
            body: String::new(),
            ..with(
                &good,
                line("GET /redox", scene("GET that is no challenge", 405)),
            )
        },
        with(
            &good,
            line("POST /other", scene("path that no route has", 404)),
        ),
        with(
            &good,
            line("POST /redox/../redox", scene("path with two readings", 400)),
        ),
        Scene {
            announced: Some(OVERSIZED),
            ..with(&good, scene("oversized message", 413))
        },
    ]
}
