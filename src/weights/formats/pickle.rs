//! Python's pickle, as PyTorch writes it (protocols 0 to 5), read as data: tensors, numbers, text, lists and dicts.
//!
//! A pickle is a program for a stack machine that may call any function of Python. This machine calls three
//! functions that it has itself, and refuses every other call by name. A class that is only named is kept as a name.
//!
//! Above 300 lines: every instruction works on the one stack, and its limits stand beside it.
use std::io::{self, BufRead, Read};

/// Objects of one pickle: the training state of a model with 2,000 tensors has 100,000.
const MOST_OBJECTS: usize = 1 << 18;
/// Bytes of the longest text: names of tensors have some hundred.
const LONGEST_TEXT: u64 = 1 << 20;

/// What is wrong with a pickle.
#[derive(Debug, thiserror::Error)]
pub(super) enum PickleError {
    /// The bytes could not be read, or end before the pickle does.
    #[error("reading a pickle: {0}")]
    Read(#[from] io::Error),
    /// A function or class outside of the list is called.
    #[error("the pickle calls {0}, which is not on the list of what a file of tensors needs")]
    Call(String),
    /// An instruction that files of tensors do not have.
    #[error("byte {at}: unknown instruction {code:#04x}")]
    Code { at: u64, code: u8 },
    /// Instructions that do not fit what they find.
    #[error("byte {at}: expected {expected}")]
    Stack { at: u64, expected: &'static str },
    /// More than a file of tensors has.
    #[error("byte {at}: more than {most} {what}")]
    Limit { at: u64, what: &'static str, most: u64 },
}

/// Number of an object within its pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

/// Where a tensor's elements are: a storage of a number of elements, known by its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// Its class, such as `FloatStorage`.
    pub class: String,
    /// Its key: the record `data/KEY`.
    pub key: String,
    /// Elements.
    pub elements: u64,
}

/// A tensor as a view of its storage; offset, extents and strides count elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub storage: Storage,
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// A value of Python.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// A list or a tuple.
    List(Vec<Id>),
    /// Keys and values, in order.
    Dict(Vec<(Id, Id)>),
    /// A class or function that is named, `module.name`.
    Global(String),
    Storage(Box<Storage>),
    Tensor(Box<View>),
}

/// The objects of a pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    root: Id,
}

impl Pickle {
    /// Reads one pickle, up to its end and no further.
    pub fn read(bytes: &mut dyn BufRead) -> Result<Self, PickleError> {
        Machine {
            bytes,
            at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            copied: 0,
        }
        .run()
    }

    /// The object that the pickle is.
    pub fn root(&self) -> &Object {
        self.get(self.root)
    }

    /// An object.
    pub fn get(&self, id: Id) -> &Object {
        &self.objects[id.0 as usize]
    }

    /// All objects, in the order in which they were made.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }
}

struct Machine<'a> {
    bytes: &'a mut dyn BufRead,
    /// Bytes read so far.
    at: u64,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Lengths of the stack where marks were set.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    /// Items that calls have copied: a few bytes of a file may ask for a long list again and again.
    copied: usize,
}

type Done<T = ()> = Result<T, PickleError>;

impl Machine<'_> {
    fn run(mut self) -> Done<Pickle> {
        loop {
            let [code] = self.take()?;
            if code == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { objects: self.objects, root });
            }
            self.step(code)?;
        }
    }

    /// Runs one instruction but the last, STOP.
    fn step(&mut self, code: u8) -> Done {
        match code {
            // PROTO, FRAME.
            0x80 => self.take::<1>().map(drop),
            0x95 => self.take::<8>().map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                self.limit("marks", self.marks.len(), MOST_OBJECTS)
            }
            b'0' => self.pop().map(drop),
            b'1' => self.since_mark().map(drop),
            b'2' => {
                let top = *self.stack.last().ok_or_else(|| self.expected("an object"))?;
                self.place(top)
            }
            b'N' => self.push(Object::None),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'J' | b'K' | b'M' | 0x8a | 0x8b | b'I' | b'L' => self.integer(code),
            b'G' => {
                let number = f64::from_be_bytes(self.take()?);
                self.push(Object::Float(number))
            }
            b'F' => {
                let line = self.line()?;
                let number = line.parse().map_err(|_| self.expected("a number"))?;
                self.push(Object::Float(number))
            }
            b'S' | b'V' | b'T' | b'U' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e => {
                let text = self.text(code)?;
                self.push(Object::Text(text))
            }
            b'q' | b'r' | b'p' | 0x94 => self.remember(code),
            b'h' | b'j' | b'g' => {
                let index = self.index(code)?;
                let known = self.memo.get(index).copied().flatten();
                self.place(known.ok_or_else(|| self.expected("an object that was remembered"))?)
            }
            b'c' | 0x93 | b'R' | b'b' | 0x81 | b'Q' => self.call(code),
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
                let items = self.stack.split_off(start.ok_or_else(|| self.expected("items"))?);
                self.push(Object::List(items))
            }
            b'd' => {
                let items = self.since_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Object::Dict(pairs))
            }
            b'a' | b'e' | 0x90 => {
                let items = if code == b'a' { vec![self.pop()?] } else { self.since_mark()? };
                let Object::List(list) = self.top()? else { return Err(self.expected("a list")) };
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
                let Object::Dict(dict) = self.top()? else { return Err(self.expected("a dict")) };
                dict.extend(pairs);
                Ok(())
            }
            _ => Err(PickleError::Code { at: self.at - 1, code }),
        }
    }

    /// Names, calls and storages.
    fn call(&mut self, code: u8) -> Done {
        match code {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Global(format!("{module}.{name}")))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Object::Text(module), Object::Text(name)) = (self.get(module), self.get(name))
                else {
                    return Err(self.expected("a module and a name"));
                };
                let name = format!("{module}.{name}");
                self.push(Object::Global(name))
            }
            b'Q' => {
                let id = self.pop()?;
                let storage =
                    self.storage(id).ok_or_else(|| self.expected("the place of a storage"))?;
                self.push(Object::Storage(Box::new(storage)))
            }
            // BUILD sets attributes: of an OrderedDict `_metadata`, which no reader needs.
            b'b' => {
                self.pop()?;
                match self.top()? {
                    Object::Dict(_) | Object::Tensor(_) => Ok(()),
                    Object::Global(name) => Err(PickleError::Call(name.clone())),
                    _ => Err(self.expected("a dict or a tensor")),
                }
            }
            _ => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let (Object::List(arguments), Object::Global(name)) =
                    (self.get(arguments), self.get(function))
                else {
                    return Err(self.expected("a function and its arguments"));
                };
                let made = self.made(name, arguments)?;
                if let Object::Dict(pairs) = &made {
                    self.copied += pairs.len();
                    self.limit("items of dicts", self.copied, MOST_OBJECTS)?;
                }
                self.push(made)
            }
        }
    }

    /// What a call gives.
    fn made(&self, function: &str, arguments: &[Id]) -> Done<Object> {
        match function {
            "collections.OrderedDict" => {
                let Some(&items) = arguments.first() else { return Ok(Object::Dict(Vec::new())) };
                let Object::List(items) = self.get(items) else {
                    return Err(self.expected("a list of pairs"));
                };
                let pairs = items.iter().map(|&item| match self.get(item) {
                    Object::List(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
                    _ => None,
                });
                let pairs = pairs.collect::<Option<_>>();
                Ok(Object::Dict(pairs.ok_or_else(|| self.expected("a list of pairs"))?))
            }
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => {
                let view = self.view(arguments);
                Ok(Object::Tensor(Box::new(
                    view.ok_or_else(|| self.expected("a view of a storage"))?,
                )))
            }
            "torch._utils._rebuild_parameter" => match arguments.first().map(|&id| self.get(id)) {
                Some(tensor @ Object::Tensor(_)) => Ok(tensor.clone()),
                _ => Err(self.expected("a tensor")),
            },
            _ => Err(PickleError::Call(function.to_owned())),
        }
    }

    /// `('storage', class, key, location, elements)`.
    fn storage(&self, id: Id) -> Option<Storage> {
        let Object::List(parts) = self.get(id) else { return None };
        let [kind, class, key, _, elements, ..] = parts[..] else { return None };
        match (self.get(kind), self.get(class), self.get(key), self.get(elements)) {
            (
                Object::Text(kind),
                Object::Global(class),
                Object::Text(key),
                &Object::Int(elements),
            ) if kind == "storage" => {
                let class = class.strip_prefix("torch.").unwrap_or(class).to_owned();
                Some(Storage { class, key: key.clone(), elements: elements.try_into().ok()? })
            }
            _ => None,
        }
    }

    /// `(storage, offset, extents, strides, ...)`.
    fn view(&self, arguments: &[Id]) -> Option<View> {
        let [storage, offset, shape, strides, ..] = *arguments else { return None };
        let Object::Storage(storage) = self.get(storage) else { return None };
        let natural = |id: Id| match *self.get(id) {
            Object::Int(number) => u64::try_from(number).ok(),
            _ => None,
        };
        let numbers = |id: Id| match self.get(id) {
            Object::List(items) if items.len() <= 8 => {
                items.iter().map(|&id| natural(id)).collect()
            }
            _ => None,
        };
        let (shape, strides): (Vec<u64>, Vec<u64>) = (numbers(shape)?, numbers(strides)?);
        let offset = natural(offset)?;
        (shape.len() == strides.len()).then(|| View {
            storage: (**storage).clone(),
            offset,
            shape,
            strides,
        })
    }

    fn integer(&mut self, code: u8) -> Done {
        let number = match code {
            b'J' => i32::from_le_bytes(self.take()?).into(),
            b'K' => u8::from_le_bytes(self.take()?).into(),
            b'M' => u16::from_le_bytes(self.take()?).into(),
            b'I' | b'L' => {
                let line = self.line()?;
                match (code, line.trim_end_matches('L')) {
                    (b'I', "00") => return self.push(Object::Bool(false)),
                    (b'I', "01") => return self.push(Object::Bool(true)),
                    (_, digits) => {
                        digits.parse().map_err(|_| self.expected("an integer of 64 bits"))?
                    }
                }
            }
            _ => {
                let length = if code == 0x8a {
                    self.take::<1>()?[0].into()
                } else {
                    u32::from_le_bytes(self.take()?)
                };
                // The first pickle of a legacy file is an integer of ten bytes; its upper ones are dropped.
                let bytes = self.take_text(length.into())?;
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut wide = [if negative { 0xff } else { 0 }; 8];
                wide.iter_mut().zip(&bytes).for_each(|(wide, &byte)| *wide = byte);
                i64::from_le_bytes(wide)
            }
        };
        self.push(Object::Int(number))
    }

    fn text(&mut self, code: u8) -> Done<String> {
        let length = match code {
            b'S' | b'V' => {
                let line = self.line()?;
                let quoted = line.strip_prefix('\'').and_then(|line| line.strip_suffix('\''));
                return Ok(quoted.unwrap_or(&line).to_owned());
            }
            b'U' | b'C' | 0x8c => self.take::<1>()?[0].into(),
            b'T' | b'X' | b'B' => u32::from_le_bytes(self.take()?).into(),
            _ => u64::from_le_bytes(self.take()?),
        };
        let bytes = self.take_text(length)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The number of a remembered object.
    fn index(&mut self, code: u8) -> Done<usize> {
        Ok(match code {
            b'q' | b'h' => self.take::<1>()?[0].into(),
            b'r' | b'j' => u32::from_le_bytes(self.take()?) as usize,
            0x94 => self.memo.len(),
            _ => self.line()?.parse().map_err(|_| self.expected("a number"))?,
        })
    }

    fn remember(&mut self, code: u8) -> Done {
        let index = self.index(code)?;
        self.limit("remembered objects", index, MOST_OBJECTS)?;
        let top = *self.stack.last().ok_or_else(|| self.expected("an object"))?;
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
        let Some(&top) = self.stack.last() else { return Err(self.expected("an object")) };
        Ok(&mut self.objects[top.0 as usize])
    }

    fn push(&mut self, object: Object) -> Done {
        self.limit("objects", self.objects.len(), MOST_OBJECTS)?;
        self.objects.push(object);
        self.place(Id(self.objects.len() as u32 - 1))
    }

    fn place(&mut self, id: Id) -> Done {
        self.limit("objects on the stack", self.stack.len(), MOST_OBJECTS)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Done<Id> {
        let least = self.marks.last().copied().unwrap_or(0);
        let top = if self.stack.len() > least { self.stack.pop() } else { None };
        top.ok_or_else(|| self.expected("an object"))
    }

    fn since_mark(&mut self) -> Done<Vec<Id>> {
        let Some(mark) = self.marks.pop() else { return Err(self.expected("a mark")) };
        Ok(self.stack.split_off(mark))
    }

    fn pairs(&self, items: &[Id]) -> Done<Vec<(Id, Id)>> {
        let (pairs, rest) = items.as_chunks::<2>();
        if rest.is_empty() {
            Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
        } else {
            Err(self.expected("keys and values"))
        }
    }

    fn take<const BYTES: usize>(&mut self) -> Done<[u8; BYTES]> {
        let mut taken = [0; BYTES];
        self.bytes.read_exact(&mut taken)?;
        self.at += BYTES as u64;
        Ok(taken)
    }

    /// Bytes whose number the file says: no more memory is taken than there are bytes.
    fn take_text(&mut self, length: u64) -> Done<Vec<u8>> {
        self.limit(
            "bytes of text",
            usize::try_from(length).unwrap_or(usize::MAX),
            LONGEST_TEXT as usize,
        )?;
        let mut taken = Vec::new();
        (&mut *self.bytes).take(length).read_to_end(&mut taken)?;
        self.at += taken.len() as u64;
        if taken.len() as u64 == length {
            Ok(taken)
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }

    /// A line, without its end.
    fn line(&mut self) -> Done<String> {
        let mut line = Vec::new();
        (&mut *self.bytes).take(LONGEST_TEXT).read_until(b'\n', &mut line)?;
        self.at += line.len() as u64;
        let text = String::from_utf8(line).map_err(|_| self.expected("text"))?;
        text.strip_suffix('\n').map(str::to_owned).ok_or_else(|| self.expected("the end of a line"))
    }

    fn limit(&self, what: &'static str, found: usize, most: usize) -> Done {
        if found <= most {
            Ok(())
        } else {
            Err(PickleError::Limit { at: self.at, what, most: most as u64 })
        }
    }

    fn expected(&self, expected: &'static str) -> PickleError {
        PickleError::Stack { at: self.at, expected }
    }
}
