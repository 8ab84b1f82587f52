//! Values of JSON as values of CEL.

use std::any::Any;
use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Iterable, Iterator as Elements, Sizer};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelNull, CelString, CelUInt, MAP_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use serde_json::Value;

/// The same value for CEL: a number is an integer where it fits into one.
pub(super) fn value(json: &Value) -> Box<dyn Val> {
    match json {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, Some(number)) => Box::new(CelUInt::from(number)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.clone())),
        Value::Array(list) => Box::new(CelList::from(list.iter().map(value).collect::<Vec<_>>())),
        Value::Object(map) => {
            let entry = |key: &String, inner| Entry { key: key.clone().into(), value: value(inner) };
            let entries = map.iter().map(|(key, inner)| (key.clone(), entry(key, inner)));
            Box::new(OrderedMap(Arc::new(entries.collect())))
        }
    }
}

/// A map whose keys are always gone through in the same order: the library's own draws it anew each time.
#[derive(Clone, Debug)]
struct OrderedMap(Arc<BTreeMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    /// The key once more, to be lent to what goes through the keys.
    key: CelString<'static>,
    value: Box<dyn Val>,
}

impl OrderedMap {
    fn find(&self, key: &dyn Val) -> Result<Option<&(dyn Val + 'static)>, ExecutionError> {
        let Some(key) = key.downcast_ref::<CelString<'_>>() else {
            let got = key.get_type().name().to_owned();
            return Err(ExecutionError::UnexpectedType { got, want: "string".to_owned() });
        };
        Ok(self.0.get(key.inner()).map(|entry| &*entry.value))
    }

    fn found(&self, key: &dyn Val) -> Result<&(dyn Val + 'static), ExecutionError> {
        let missing = || ExecutionError::no_such_key(key.downcast_ref::<CelString<'_>>().map_or("", |key| key.inner()));
        self.find(key)?.ok_or_else(missing)
    }
}

impl Val for OrderedMap {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| {
            let mut pairs = self.0.values().zip(other.0.values());
            self.0.len() == other.0.len()
                && pairs.all(|(one, other)| one.key == other.key && one.value.equals(&*other.value))
        })
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for OrderedMap {}

impl Container for OrderedMap {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        self.find(key).map(|found| found.is_some())
    }
}

impl Indexer for OrderedMap {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.found(key).map(CowVal::Borrowed)
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.found(key).map(|value| value.clone_as_boxed())
    }
}

impl Iterable for OrderedMap {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Elements<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Keys(self.0.values()))
    }
}

impl Sizer for OrderedMap {
    fn size(&self) -> CelInt {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX).into()
    }
}

struct Keys<'b>(btree_map::Values<'b, String, Entry>);

impl<'b, 'v> Elements<'b, 'v> for Keys<'b> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|entry| &entry.key as &dyn Val)
    }
}
