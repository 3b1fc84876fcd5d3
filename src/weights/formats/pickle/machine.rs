//! The stack machine that makes a pickle's objects.
use super::{
    bytes::{Bytes, Done, PickleError, Whole},
    functions::{Made, Objects},
    values::{Id, Object},
};
use std::{io::BufRead, sync::Arc};

/// Objects of one pickle: the training state of a model with 2,000 tensors has 100,000.
const MOST_OBJECTS: usize = 1 << 17;
/// Tensors of one pickle: the same state has 8,000.
const MOST_TENSORS: usize = 1 << 14;

pub(super) struct Machine<'a> {
    bytes: Bytes<'a>,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Lengths of the stack where marks were set.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    /// Items that calls have copied: a few bytes of a file may ask for a long list again and again.
    copied: usize,
    /// Tensors that calls have made.
    tensors: usize,
}

impl<'a> Machine<'a> {
    pub fn new(from: &'a mut dyn BufRead) -> Self {
        Self {
            bytes: Bytes { from, at: 0 },
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            copied: 0,
            tensors: 0,
        }
    }

    /// Runs the pickle: all its objects, and the one that it is.
    pub fn run(mut self) -> Done<(Vec<Object>, Id)> {
        loop {
            let [code] = self.bytes.take()?;
            if code == b'.' {
                let root = self.pop()?;
                return Ok((self.objects, root));
            }
            self.step(code)?;
        }
    }

    /// Runs one instruction but the last, STOP.
    fn step(&mut self, code: u8) -> Done {
        match code {
            // PROTO, FRAME.
            0x80 => self.bytes.take::<1>().map(drop),
            0x95 => self.bytes.take::<8>().map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                self.bytes.limit("marks", self.marks.len(), MOST_OBJECTS)
            }
            b'0' => self.pop().map(drop),
            b'1' => self.since_mark().map(drop),
            b'2' => {
                let top = *self.stack.last().ok_or_else(|| self.bytes.expected("an object"))?;
                self.place(top)
            }
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'J' | b'K' | b'M' | 0x8a | 0x8b | b'I' | b'L' => {
                let number = match self.bytes.integer(code)? {
                    Whole::Bool(truth) => Object::Bool(truth),
                    Whole::Int(number) => Object::Int(number),
                };
                self.push(number)
            }
            b'G' => {
                let number = f64::from_be_bytes(self.bytes.take()?);
                self.push(Object::Float(number))
            }
            b'F' => {
                let line = self.bytes.line()?;
                let number = line.parse().map_err(|_| self.bytes.expected("a number"))?;
                self.push(Object::Float(number))
            }
            b'S' | b'V' | b'T' | b'U' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e => {
                let text = self.bytes.text(code)?;
                self.push(Object::Text(text.into()))
            }
            b'q' | b'r' | b'p' | 0x94 => self.remember(code),
            b'h' | b'j' | b'g' => {
                let index = self.index(code)?;
                let known = self.memo.get(index).copied().flatten();
                self.place(
                    known.ok_or_else(|| self.bytes.expected("an object that was remembered"))?,
                )
            }
            b'c' | 0x93 | b'R' | b'b' | 0x81 | b'Q' => self.call(code),
            b'i' | b'o' => self.instance(code),
            _ => self.collect(code),
        }
    }

    /// Lists, tuples, sets and dicts.
    fn collect(&mut self, code: u8) -> Done {
        match code {
            b']' | b')' | 0x8f => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b'l' | b't' => {
                let items = self.since_mark()?;
                self.push(Object::List(items))
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count);
                // Not from before a mark, which would then lie above the stack.
                let start = start.filter(|start| *start >= self.least());
                let items =
                    self.stack.split_off(start.ok_or_else(|| self.bytes.expected("items"))?);
                self.push(Object::List(items))
            }
            b'd' => {
                let items = self.since_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Object::Dict(pairs))
            }
            b'a' | b'e' | 0x90 => {
                let items = if code == b'a' { vec![self.pop()?] } else { self.since_mark()? };
                let Object::List(list) = self.top()? else {
                    return Err(self.bytes.expected("a list"));
                };
                list.extend(items);
                Ok(())
            }
            b's' | b'u' => {
                let items = if code == b's' {
                    let value = self.pop()?;
                    vec![self.pop()?, value]
                } else {
                    self.since_mark()?
                };
                let pairs = self.pairs(&items)?;
                let Object::Dict(dict) = self.top()? else {
                    return Err(self.bytes.expected("a dict"));
                };
                dict.extend(pairs);
                Ok(())
            }
            _ => Err(PickleError::Code { at: self.bytes.at - 1, code }),
        }
    }

    /// Names, calls and storages.
    fn call(&mut self, code: u8) -> Done {
        match code {
            b'c' => {
                let (module, name) = (self.bytes.line()?, self.bytes.line()?);
                self.push(Object::Global(format!("{module}.{name}").into()))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Object::Text(module), Object::Text(name)) = (self.get(module), self.get(name))
                else {
                    return Err(self.bytes.expected("a module and a name"));
                };
                let name = format!("{module}.{name}");
                self.push(Object::Global(name.into()))
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = Objects(&self.objects)
                    .storage(id)
                    .ok_or_else(|| self.bytes.expected("the place of a storage"))?;
                self.push(Object::Storage(Arc::new(storage)))
            }
            // BUILD sets attributes: of an OrderedDict `_metadata`, which no reader needs.
            b'b' => {
                self.pop()?;
                match self.top()? {
                    Object::Dict(_) | Object::Tensor(_) => Ok(()),
                    Object::Global(name) => Err(PickleError::Call(name.to_string())),
                    _ => Err(self.bytes.expected("a dict or a tensor")),
                }
            }
            _ => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let (Object::List(arguments), Object::Global(name)) =
                    (self.get(arguments), self.get(function))
                else {
                    return Err(self.bytes.expected("a function and its arguments"));
                };
                let made = match Objects(&self.objects).made(name, arguments) {
                    Made::Object(made) => made,
                    Made::Unknown => return Err(PickleError::Call(name.to_string())),
                    Made::Expected(what) => return Err(self.bytes.expected(what)),
                };
                match &made {
                    Object::Dict(pairs) => self.copied += pairs.len(),
                    Object::Tensor(_) => self.tensors += 1,
                    _ => {}
                }
                self.bytes.limit("items of dicts", self.copied, MOST_OBJECTS)?;
                self.bytes.limit("tensors", self.tensors, MOST_TENSORS)?;
                self.push(made)
            }
        }
    }

    /// INST and OBJ make an object of a class, which no file of tensors has.
    fn instance(&mut self, code: u8) -> Done {
        if code == b'i' {
            let (module, name) = (self.bytes.line()?, self.bytes.line()?);
            return Err(PickleError::Call(format!("{module}.{name}")));
        }
        match self.since_mark()?.first().map(|&class| self.get(class)) {
            Some(Object::Global(name)) => Err(PickleError::Call(name.to_string())),
            _ => Err(self.bytes.expected("a class")),
        }
    }

    /// The number of a remembered object.
    fn index(&mut self, code: u8) -> Done<usize> {
        Ok(match code {
            b'q' | b'h' => self.bytes.take::<1>()?[0].into(),
            b'r' | b'j' => u32::from_le_bytes(self.bytes.take()?) as usize,
            0x94 => self.memo.len(),
            _ => self.bytes.line()?.parse().map_err(|_| self.bytes.expected("a number"))?,
        })
    }

    fn remember(&mut self, code: u8) -> Done {
        let index = self.index(code)?;
        self.bytes.limit("remembered objects", index, MOST_OBJECTS)?;
        let top = *self.stack.last().ok_or_else(|| self.bytes.expected("an object"))?;
        if self.memo.len() <= index {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(top);
        Ok(())
    }

    fn get(&self, id: Id) -> &Object {
        &self.objects[id.0 as usize]
    }

    /// The object on top of the stack.
    fn top(&mut self) -> Done<&mut Object> {
        let Some(&top) = self.stack.last() else { return Err(self.bytes.expected("an object")) };
        Ok(&mut self.objects[top.0 as usize])
    }

    fn push(&mut self, object: Object) -> Done {
        self.bytes.limit("objects", self.objects.len(), MOST_OBJECTS)?;
        self.objects.push(object);
        self.place(Id(self.objects.len() as u32 - 1))
    }

    fn place(&mut self, id: Id) -> Done {
        self.bytes.limit("objects on the stack", self.stack.len(), MOST_OBJECTS)?;
        self.stack.push(id);
        Ok(())
    }

    /// Length of the stack at the last mark: what lies below is not to be taken.
    fn least(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Done<Id> {
        let top = if self.stack.len() > self.least() { self.stack.pop() } else { None };
        top.ok_or_else(|| self.bytes.expected("an object"))
    }

    fn since_mark(&mut self) -> Done<Vec<Id>> {
        let Some(mark) = self.marks.pop() else { return Err(self.bytes.expected("a mark")) };
        Ok(self.stack.split_off(mark))
    }

    fn pairs(&self, items: &[Id]) -> Done<Vec<(Id, Id)>> {
        let (pairs, rest) = items.as_chunks::<2>();
        if rest.is_empty() {
            Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
        } else {
            Err(self.bytes.expected("keys and values"))
        }
    }
}
