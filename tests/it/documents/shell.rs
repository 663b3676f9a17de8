//! Reading the shell of the documents: the commands in it, with what is behind quotes and in substitutions.
//!
//! As much of the language as the documents need; what is beyond is an error, so that nothing goes unread.

/// Every simple command, those in substitutions included: its words, without redirections.
pub(super) fn commands(script: &str) -> Result<Vec<Vec<String>>, String> {
    let mut reader = Reader {
        rest: script.chars().collect(),
        at: 0,
        found: Vec::new(),
    };
    reader.list(false)?;
    Ok(reader.found)
}

struct Reader {
    rest: Vec<char>,
    at: usize,
    found: Vec<Vec<String>>,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek();
        self.at += 1;
        next
    }

    /// Commands up to the end, or up to the parenthesis that closes a substitution.
    fn list(&mut self, inside: bool) -> Result<(), String> {
        let mut words: Vec<String> = Vec::new();
        let mut drops_next = false;
        loop {
            match self.peek() {
                None if inside => return Err("a substitution without an end".to_owned()),
                None => break,
                Some(')') if inside => {
                    self.at += 1;
                    break;
                }
                Some(')') => return Err("a parenthesis that nothing opened".to_owned()),
                Some('\n' | ';' | '|' | '&') => {
                    self.at += 1;
                    self.end(&mut words);
                }
                Some('<' | '>') => {
                    if words.last().is_some_and(|word| word == "2") {
                        words.pop();
                    }
                    drops_next = self.redirection()?;
                }
                Some('#') => {
                    while self.peek().is_some_and(|next| next != '\n') {
                        self.at += 1;
                    }
                }
                Some('\\') if self.rest.get(self.at + 1) == Some(&'\n') => self.at += 2,
                Some(next) if next.is_whitespace() => self.at += 1,
                Some(_) => {
                    let word = self.word()?;
                    if !std::mem::take(&mut drops_next) {
                        words.push(word);
                    }
                }
            }
        }
        self.end(&mut words);
        Ok(())
    }

    fn end(&mut self, words: &mut Vec<String>) {
        if !words.is_empty() {
            self.found.push(std::mem::take(words));
        }
    }

    /// Whether the word behind it is a file.
    fn redirection(&mut self) -> Result<bool, String> {
        let first = self.next();
        match self.peek() {
            Some('&') => {
                self.at += 2;
                Ok(false)
            }
            Some('<') if first == Some('<') => Err("a here-document".to_owned()),
            Some('>') => {
                self.at += 1;
                Ok(true)
            }
            Some(_) | None => Ok(true),
        }
    }

    fn word(&mut self) -> Result<String, String> {
        let mut word = String::new();
        while let Some(next) = self.peek() {
            match next {
                '\'' => {
                    self.at += 1;
                    loop {
                        match self.next().ok_or("a quote without an end")? {
                            '\'' => break,
                            letter => word.push(letter),
                        }
                    }
                }
                '"' => {
                    self.at += 1;
                    self.quoted(&mut word)?;
                }
                '$' if self.rest.get(self.at + 1) == Some(&'(') => self.substitution(&mut word)?,
                '\\' => {
                    self.at += 1;
                    word.extend(self.next().filter(|letter| *letter != '\n'));
                }
                '`' | '(' | '{' if word.is_empty() => return Err(format!("a `{next}`")),
                ')' | ';' | '|' | '&' | '<' | '>' => break,
                letter if letter.is_whitespace() => break,
                letter => {
                    self.at += 1;
                    word.push(letter);
                }
            }
        }
        Ok(word)
    }

    fn quoted(&mut self, word: &mut String) -> Result<(), String> {
        loop {
            match self.peek().ok_or("a quote without an end")? {
                '"' => {
                    self.at += 1;
                    return Ok(());
                }
                '$' if self.rest.get(self.at + 1) == Some(&'(') => self.substitution(word)?,
                '\\' => {
                    self.at += 1;
                    word.extend(self.next());
                }
                letter => {
                    self.at += 1;
                    word.push(letter);
                }
            }
        }
    }

    fn substitution(&mut self, word: &mut String) -> Result<(), String> {
        self.at += 2;
        word.push_str("$(…)");
        self.list(true)
    }
}

#[test]
fn commands_are_read() {
    let script = "a 'b c' \"d $(e f | g)\" >h 2>&1 # i\nA=1 j \\\n  k&& l;m <n\n";
    let found = commands(script).unwrap();
    let found: Vec<String> = found.iter().map(|words| words.join("·")).collect();
    assert_eq!(found, ["e·f", "g", "a·b c·d $(…)", "A=1·j·k", "l", "m"]);
    for broken in ["a 'b", "a \"b", "a $(b", "cat <<E\nE\n", "(a)", "a)"] {
        assert!(commands(broken).is_err(), "{broken}");
    }
}
