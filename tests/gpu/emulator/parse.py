"""PTX text into functions, instructions and variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

__all__ = ["DTYPES", "Function", "Instruction", "Parameter", "Variable", "parse_module", "width_of"]

DTYPES = {
    "u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64,
    "s8": np.int8, "s16": np.int16, "s32": np.int32, "s64": np.int64,
    "b8": np.uint8, "b16": np.uint16, "b32": np.uint32, "b64": np.uint64,
    "f16": np.float16, "f32": np.float32, "f64": np.float64, "pred": np.bool_,
}  # fmt: skip

_NAME = r"[\w$%]+"
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|^[ \t]*\.(?:loc|file)\b[^\n]*", re.S | re.M)
_FUNCTION = re.compile(
    rf"\.(entry|func)\s+(?:\(([^)]*)\)\s*)?({_NAME})\s*(?:\(([^)]*)\))?([^{{;]*)([{{;])"
)
_PARAMETER = re.compile(
    r"\.(?:param|reg)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+"
    r"(?:\.ptr\s+(?:\.(?:global|shared|local|const)\s+)?(?:\.align\s+\d+\s+)?)?"
    rf"({_NAME})(?:\[(\d+)\])?"
)
_VARIABLE = re.compile(
    r"\.(global|shared|const|local)\s+(?:\.(?:attribute\([^)]*\)|relocatable)\s+)?"
    rf"(?:\.align\s+(\d+)\s+)?\.(\w+)\s+({_NAME})((?:\[\d*\])*)\s*(?:=(.*))?$",
    re.S,
)
_REGISTER_RANGE = re.compile(r"(%\w+?)<(\d+)>")
_LABEL = re.compile(r"([$\w]+)\s*:(?!:)")
_INSTRUCTION = re.compile(r"(?:@(!?[%$\w#]+)\s+)?([a-z][\w.:]*)\s*(.*)", re.S)
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|generic\([^)]*\)|[^,\s]+")
_BRACE = re.compile(r"[{}]")
_SPACE = re.compile(r"\s+")
_TOKEN = re.compile(r"[%$\w]+")


@dataclass(slots=True)
class Instruction:
    """One instruction, e.g. '@%p1 ld.global.f32 %f1, [%rd1+4]'."""

    guard: str  # '', '%p1' or '!%p1'
    opcode: str  # 'ld.global.f32'
    parts: list  # ['ld', 'global', 'f32']
    operands: list  # ['%f1', '[%rd1+4]']
    line: int  # in the PTX text, from 1
    text: str

    @property
    def name(self):
        """First part of the opcode: 'ld'."""
        return self.parts[0]

    @property
    def type(self):
        """Last part of the opcode: 'f32'."""
        return self.parts[-1]


@dataclass
class Parameter:
    """A parameter of a function or of a call."""

    name: str
    type: str
    size: int  # bytes


@dataclass
class Variable:
    """A variable in shared, local, global or constant memory."""

    name: str
    space: str
    alignment: int
    size: int  # bytes; 0 for an array without a size
    initial: bytes | None = None


@dataclass
class Function:
    """A kernel or device function."""

    name: str
    is_entry: bool
    returns: list
    parameters: list
    instructions: list = field(default_factory=list)
    labels: dict = field(default_factory=dict)  # label -> index of the instruction after it
    registers: dict = field(default_factory=dict)  # register -> PTX type
    call_parameters: dict = field(default_factory=dict)  # name -> Parameter
    variables: list = field(default_factory=list)  # local and shared, declared inside

    def called(self):
        """Names of the functions that this one calls."""
        names = []
        for instruction in self.instructions:
            if instruction.name == "call":
                name = next(x for x in instruction.operands if not x.startswith("("))
                if name not in names:
                    names.append(name)
        return names


def width_of(ptx_type):
    """Size in bytes of a value of a PTX type such as 'f32' or 'pred'."""
    return 1 if ptx_type == "pred" else int(ptx_type[1:]) // 8


def parse_module(ptx):
    """Functions (by name) and variables of a PTX text."""
    ptx = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), ptx)
    functions, outside, end = {}, [], 0
    while match := _FUNCTION.search(ptx, end):
        outside.append(ptx[end : match.start()])
        kind, returns, name, parameters, _, opening = match.groups()
        end = match.end()
        if opening == ";":  # a declaration
            continue
        depth = 1
        while depth:
            brace = _BRACE.search(ptx, end)
            depth += 1 if brace[0] == "{" else -1
            end = brace.end()
        function = Function(name, kind == "entry", _parameters(returns), _parameters(parameters))
        first_line = ptx.count("\n", 0, match.end()) + 1
        _BodyParser(function).parse(ptx[match.end() : end - 1], first_line)
        functions[name] = function
    outside.append(ptx[end:])
    return functions, _module_variables("".join(outside))


def _parameters(text):
    return [
        Parameter(name, ptx_type, width_of(ptx_type) * int(count or 1))
        for _, ptx_type, name, count in _PARAMETER.findall(text or "")
    ]


def _module_variables(text):
    variables = []
    for statement in text.split(";"):
        # Directives such as .version end with their line, not with a semicolon.
        start = re.search(r"\.(global|shared|const)\b", statement)
        if start and (match := _VARIABLE.match(statement[start.start() :].strip())):
            variables.append(_variable(match))
    return variables


def _variable(match):
    space, alignment, ptx_type, name, dimensions, initial = match.groups()
    width = width_of(ptx_type)
    counts = re.findall(r"\[(\d*)\]", dimensions)
    size = width
    for count in counts:
        size *= int(count or 0)
    if initial is not None:
        initial = _initial_bytes(initial, ptx_type)
        size = max(size, len(initial))
        initial = initial.ljust(size, b"\0")
    return Variable(name, space, int(alignment or width), size, initial)


def _initial_bytes(text, ptx_type):
    raw = b""
    for value in text.replace("{", " ").replace("}", " ").split(","):
        value = value.strip()
        if value[:2].lower() in ("0f", "0d"):
            bits = int(value[2:], 16)
        elif re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)U?", value):
            bits = int(value.rstrip("U"), 0)
        elif ptx_type[0] == "f":
            bits = int.from_bytes(DTYPES[ptx_type](float(value)).tobytes(), "little")
        else:
            raise NotImplementedError(f"initial value {value!r}")
        width = width_of(ptx_type)
        raw += (bits & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    return raw


class _BodyParser:
    """Fills a Function from the text between its braces.

    Braces inside a body open a scope, whose registers and parameters may have the names of others
    outside (inline assembly does so); here they get names of their own.
    """

    def __init__(self, function):
        self.function = function
        self.scopes = [{}]
        self.suffixes = [""]
        self.num_scopes = 0

    def parse(self, text, line):
        position = 0
        while position < len(text):
            character = text[position]
            if character in "{}":
                if character == "{":
                    self.num_scopes += 1
                    self.scopes.append({})
                    self.suffixes.append(f"#{self.num_scopes}")
                else:
                    self.scopes.pop()
                    self.suffixes.pop()
                position += 1
            elif match := _SPACE.match(text, position):
                line += match[0].count("\n")
                position = match.end()
            elif match := _LABEL.match(text, position):
                self.function.labels[match[1]] = len(self.function.instructions)
                position = match.end()
            else:
                end = text.index(";", position)
                self._statement(text[position:end].strip(), line)
                line += text.count("\n", position, end)
                position = end + 1

    def _statement(self, text, line):
        if text.startswith(".reg"):
            self._declare_registers(text)
        elif text.startswith(".param"):
            for parameter in _parameters(text):
                parameter.name = self._declare(parameter.name)
                self.function.call_parameters[parameter.name] = parameter
        elif match := _VARIABLE.match(text):
            self.function.variables.append(_variable(match))
        elif text.startswith((".pragma", ".callprototype")):
            pass
        elif text.startswith("."):
            raise NotImplementedError(f"line {line}: {text}")
        else:
            self._instruction(text, line)

    def _declare(self, name):
        unique = name + self.suffixes[-1]
        self.scopes[-1][name] = unique
        return unique

    def _declare_registers(self, text):
        ptx_type, names = re.match(r"\.reg\s+\.(\w+)\s+(.*)", text, re.S).groups()
        for name in names.split(","):
            name = name.strip()
            if span := _REGISTER_RANGE.match(name):
                expanded = [f"{span[1]}{i}" for i in range(int(span[2]))]
            else:
                expanded = [name]
            for one in expanded:
                self.function.registers[self._declare(one)] = ptx_type

    def _resolve(self, match):
        for scope in reversed(self.scopes[1:]):
            if match[0] in scope:
                return scope[match[0]]
        return match[0]

    def _instruction(self, text, line):
        shown = " ".join(text.split())
        if len(self.scopes) > 1:
            text = _TOKEN.sub(self._resolve, text)
        match = _INSTRUCTION.match(text)
        if match is None:
            raise SyntaxError(f"line {line}: {shown}")
        guard, opcode, operands = match.groups()
        operands = [operand.strip() for operand in _OPERAND.findall(operands)]
        self.function.instructions.append(
            Instruction(guard or "", opcode, opcode.split("."), operands, line, shown)
        )
