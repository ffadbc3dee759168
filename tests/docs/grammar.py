"""The grammar of grammar/glm.y as EBNF: actions and error rules left out, lists as repetition."""
import re

TOKEN = re.compile(r"""/\*.*?\*/|"[^"]*"|'(?:\\.|[^'])'|%[a-z]+|[A-Za-z_]\w*|[:;|{}]|\S""", re.S)


def rules_of(text):
    """{name: [alternative, ...]}; an alternative is a list of symbols."""
    tokens = [t for t in TOKEN.findall(text.split("\n%%\n")[1]) if not t.startswith("/*")]
    rules, name, depth = {}, None, 0
    for i, t in enumerate(tokens):
        if t in "{}" and len(t) == 1:
            depth += 1 if t == "{" else -1
        elif depth:
            continue
        elif i + 1 < len(tokens) and tokens[i + 1] == ":":
            name = t
            rules[name] = [[]]
        elif t == "|":
            rules[name].append([])
        elif t not in (":", ";"):
            rules[name][-1].append(t)
    return rules


def symbols(alternative):
    """Without %empty, and %prec with its token."""
    out, skip = [], False
    for s in alternative:
        if skip or s == "%empty":
            skip = False
        elif s == "%prec":
            skip = True
        else:
            out.append('"' + s[1:-1].replace("\\'", "'") + '"' if s[0] == "'" else s)
    return out


def choice(alternatives):
    return " | ".join(" ".join(a) for a in alternatives)


def grouped(alternatives):
    return choice(alternatives) if len(alternatives) == 1 else "( " + choice(alternatives) + " )"


def rule_text(name, alternatives):
    """name = base { rest } for a list that begins with itself; [ ] when it may be empty."""
    all_of = [symbols(a) for a in alternatives if a != ["error"]]
    rest = [a[1:] for a in all_of if a[:1] == [name]]
    base = [a for a in all_of if a and a[0] != name]
    if not rest:
        return "[ " + choice(base) + " ]" if [] in all_of else choice(base)
    return grouped(base) + " { " + choice(rest) + " }"


def wrap(name, body, width=100):
    """One rule, broken at alternatives when it is long."""
    line = f"{name:<13}= {body} ;"
    if len(line) <= width:
        return line
    parts = re.split(r" \| ", body)
    return f"{name:<13}= " + ("\n" + " " * 13 + "| ").join(parts) + " ;"


def ebnf(path):
    with open(path) as f:
        rules = rules_of(f.read())
    return "\n".join(wrap(name, rule_text(name, alternatives)) for name, alternatives in rules.items()) + "\n"


if __name__ == "__main__":
    import sys
    print(ebnf(sys.argv[1]), end="")
