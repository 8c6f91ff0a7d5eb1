//! The states of a QR code: shown, scanned, confirmed.

use serde_json::{Value, json};

use super::book::{Book, Bot, Code, CodeState};

impl Book {
    /// Creates a code.
    pub(super) fn make_code(&mut self, body: &Value) -> Value {
        let number = self.fresh();
        let known = body["local_token_list"].as_array().cloned().unwrap_or_else(|| {
            self.complaints.add("get_bot_qrcode: local_token_list is no list");
            Vec::new()
        });
        let code = format!("qr_{number}");
        let known = known.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let mut made = Code {
            known,
            ..Code::default()
        };
        if let Some(person) = self.confirms.clone() {
            made.person = person;
            made.state = CodeState::Confirmed;
        }
        self.codes.insert(code.clone(), made);
        json!({ "qrcode": code, "qrcode_img_content": image(&code) })
    }

    pub(super) fn scan(&mut self, qr_url: &str, person: &str, digits: Option<&str>) {
        if let Some(code) = self.code_of(qr_url) {
            person.clone_into(&mut code.person);
            code.state = digits.map_or(CodeState::Scanned, |digits| CodeState::Digits(digits.to_owned()));
        }
    }

    pub(super) fn confirm(&mut self, qr_url: &str, base_url: &str) {
        if let Some(code) = self.code_of(qr_url) {
            base_url.clone_into(&mut code.base_url);
            code.state = CodeState::Confirmed;
        }
    }

    pub(super) fn expire(&mut self, qr_url: &str) {
        if let Some(code) = self.code_of(qr_url) {
            code.state = CodeState::Expired;
        }
    }

    fn code_of(&mut self, qr_url: &str) -> Option<&mut Code> {
        let found = self.codes.iter_mut().find(|(code, _)| image(code) == qr_url);
        found.map(|(_, code)| code)
    }

    /// The status of a code for a client. `None`: nothing new, the call is held.
    pub(super) fn code_status(&mut self, code: &str, digits: Option<&str>) -> Option<Value> {
        let Some(found) = self.codes.get_mut(code) else {
            self.complaints.add("get_qrcode_status: unknown code");
            return Some(json!({ "status": "expired" }));
        };
        match found.state.clone() {
            CodeState::Waiting => None,
            CodeState::Digits(shown) if digits == Some(&shown) => {
                found.state = CodeState::Scanned;
                Some(json!({ "status": "scaned" }))
            }
            CodeState::Digits(_) => Some(json!({ "status": "need_verifycode" })),
            CodeState::Scanned => Some(json!({ "status": "scaned" })),
            CodeState::Expired => Some(json!({ "status": "expired" })),
            CodeState::Confirmed => {
                let found = found.clone();
                Some(self.log_in(&found))
            }
        }
    }

    fn log_in(&mut self, code: &Code) -> Value {
        let alive = |token: &String| self.bots.get(token).is_some_and(|bot| bot.person == code.person);
        if code.known.iter().any(alive) {
            return json!({ "status": "binded_redirect" });
        }
        // The result for a code doesn't change when it is polled again.
        let token = format!("BT-{}-{}", code.person, self.codes.len());
        if !self.bots.contains_key(&token) {
            self.end_tokens(&code.person);
            let bot = Bot {
                id: format!("{}@im.bot", self.fresh()),
                person: code.person.clone(),
                ..Bot::default()
            };
            self.bots.insert(token.clone(), bot);
        }
        json!({ "status": "confirmed", "bot_token": token, "ilink_bot_id": self.bots[&token].id,
                "ilink_user_id": code.person, "baseurl": code.base_url })
    }
}

/// The text that a code's image encodes.
fn image(code: &str) -> String {
    format!("https://liteapp.weixin.qq.com/q/x?qrcode={code}&bot_type=3")
}
