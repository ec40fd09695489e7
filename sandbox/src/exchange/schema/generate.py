#!/usr/bin/env python3
"""Makes grammar.json from Microsoft's EWS schemas (types.xsd, messages.xsd; Exchange2013_SP1).

usage: generate.py TYPES_XSD MESSAGES_XSD > grammar.json

Only what the operations below can reach is kept. Item kinds other than calendar items are opaque ("any").
"""
import json
import sys
import xml.etree.ElementTree as ET

XS = "{http://www.w3.org/2001/XMLSchema}"
OPERATIONS = """GetFolder FindFolder SyncFolderItems GetItem FindItem ResolveNames GetServerTimeZones CreateItem UpdateItem
DeleteItem ConvertId Subscribe Unsubscribe GetEvents GetStreamingEvents""".split()
HEADERS = "RequestServerVersion ExchangeImpersonation TimeZoneContext MailboxCulture DateTimePrecision ManagementRole".split()
# Types that a calendar connector never sends or gets; their content is not judged.
OPAQUE = """MessageType ContactItemType DistributionListType MeetingMessageType MeetingRequestMessageType MeetingResponseMessageType
MeetingCancellationMessageType TaskType PostItemType EntityExtractionResultType ContactsFolderType SearchFolderType TasksFolderType
NonEmptyArrayOfAttachmentsType NonEmptyArrayOfResponseObjectsType RightsManagementLicenseDataType NonEmptyArrayOfPredictedActionReasonType
ManagedFolderInformationType GroupByType DistinguishedGroupByType SeekToConditionPageViewType ContactsViewType ArrayOfGroupedItemsType
NonEmptyArrayOfInternetHeadersType OnlineMeetingSettingsType ArrayOfHighlightTermsType
PermissionSetType CalendarPermissionSetType PushSubscriptionRequestType AcceptItemType ContactType""".split()

roots = {"t": ET.parse(sys.argv[1]).getroot(), "m": ET.parse(sys.argv[2]).getroot()}
named = {"complexType": {}, "simpleType": {}, "element": {}, "group": {}, "attributeGroup": {}}
for ns, root in roots.items():
    for child in root:
        kind = child.tag.removeprefix(XS)
        if kind in named:
            named[kind][f"{ns}:{child.get('name')}"] = (ns, child)

substitutes = {}
for name, (ns, element) in named["element"].items():
    head = element.get("substitutionGroup")
    if head:
        substitutes.setdefault(head, []).append(name)

types, simple, todo = {}, {}, []


def qualify(ns, name):
    return name if ":" in name else f"{ns}:{name}"


def want(ns, name):
    name = qualify(ns, name)
    if not name.startswith("xs:"):
        todo.append(name)
    return name


def occurs(node):
    high = node.get("maxOccurs", "1")
    return [int(node.get("minOccurs", "1")), 0 if high == "unbounded" else int(high)]


def particle(ns, node):
    """["seq"|"choice", min, max, [...]] or ["el", min, max, "ns:Name", "type"]; max 0 = unbounded."""
    kind = node.tag.removeprefix(XS)
    if kind == "element":
        reference = node.get("ref")
        if reference:
            return reference_to(qualify(ns, reference), occurs(node))
        inline = node.find(f"{XS}complexType")
        if inline is None:
            inline = node.find(f"{XS}simpleType")
        if inline is not None:
            name = f"{ns}:.{node.get('name')}{len(types) + len(simple)}"
            define(ns, name, inline)
        else:
            name = want(ns, node.get("type", "xs:anyType"))
        return ["el", *occurs(node), f"{ns}:{node.get('name')}", name]
    if kind in ("sequence", "choice", "all"):
        parts = [particle(ns, child) for child in node if child.tag.removeprefix(XS) in ("element", "sequence", "choice", "group", "any")]
        return ["choice" if kind == "choice" else "seq", *occurs(node), parts]
    if kind == "group":
        group_ns, group = named["group"][qualify(ns, node.get("ref"))]
        inner = next(particle(group_ns, child) for child in group if child.tag.removeprefix(XS) in ("sequence", "choice"))
        return ["seq", *occurs(node), [inner]]
    if kind == "any":
        return ["any", *occurs(node)]
    raise SystemExit(f"no rule for {kind}")


def reference_to(name, bounds):
    members, pending = [], [name]
    while pending:
        current = pending.pop(0)
        pending.extend(substitutes.get(current, []))
        ns, element = named["element"][current]
        if element.get("abstract") != "true":
            members.append(["el", 1, 1, current, want(ns, element.get("type"))])
    return ["choice", *bounds, members]


def define_simple(ns, name, node):
    restriction = node.find(f"{XS}restriction")
    entry = {}
    if restriction is not None:
        entry["base"] = want(ns, restriction.get("base")) if restriction.get("base") else "xs:string"
        values = [child.get("value") for child in restriction.findall(f"{XS}enumeration")]
        if values:
            entry["enum"] = values
        for facet in ("minInclusive", "maxInclusive", "minLength", "maxLength"):
            found = restriction.find(f"{XS}{facet}")
            if found is not None:
                entry[facet] = int(found.get("value"))
    elif node.find(f"{XS}list") is not None:
        entry["list"] = want(ns, node.find(f"{XS}list").get("itemType"))
    else:
        union = node.find(f"{XS}union")
        entry["union"] = [want(ns, member) for member in (union.get("memberTypes") or "").split()]
        if union.findall(f"{XS}simpleType"):
            entry["union"].append("xs:string")
    simple[name] = entry


def define(ns, name, node):
    if node.tag == f"{XS}simpleType":
        define_simple(ns, name, node)
        return
    entry = {"attributes": {}}
    types[name] = entry
    if name.split(":")[1] in OPAQUE:
        entry["any"] = True
        return
    body = node
    content = node.find(f"{XS}complexContent")
    simple_content = node.find(f"{XS}simpleContent")
    if content is not None or simple_content is not None:
        outer = content if content is not None else simple_content
        extension = outer.find(f"{XS}extension")
        body = extension if extension is not None else outer.find(f"{XS}restriction")
        base = want(ns, body.get("base"))
        if simple_content is not None:
            entry["text"] = base
        else:
            entry["base"] = base
    for child in body:
        kind = child.tag.removeprefix(XS)
        if kind in ("sequence", "choice", "group", "all"):
            entry["content"] = particle(ns, child)
        elif kind == "attribute":
            inline = child.find(f"{XS}simpleType")
            if inline is not None:
                type_name = f"{ns}:.@{child.get('name')}{len(types) + len(simple)}"
                define(ns, type_name, inline)
            else:
                type_name = want(ns, child.get("type", "xs:string"))
            entry["attributes"][child.get("name")] = [type_name, child.get("use") == "required"]
        elif kind == "attributeGroup":
            group_ns, group = named["attributeGroup"][qualify(ns, child.get("ref"))]
            for attribute in group.findall(f"{XS}attribute"):
                type_name = want(group_ns, attribute.get("type"))
                entry["attributes"][attribute.get("name")] = [type_name, attribute.get("use") == "required"]


elements = {}
for name in [f"m:{op}{suffix}" for op in OPERATIONS for suffix in ("", "Response")] + [f"t:{h}" for h in HEADERS] + ["t:ServerVersionInfo"]:
    ns, element = named["element"][name]
    if element.get("type"):
        elements[name] = want(ns, element.get("type"))
    else:
        elements[name] = f"{ns}:.{element.get('name')}"
        define(ns, elements[name], element.find(f"{XS}complexType"))
while todo:
    name = todo.pop()
    if name in types or name in simple:
        continue
    for kind in ("complexType", "simpleType"):
        if name in named[kind]:
            define(named[kind][name][0], name, named[kind][name][1])
            break
    else:
        raise SystemExit(f"unknown type {name}")


def write(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=False)


print("{")
sections = (("elements", elements), ("types", types), ("simple", simple))
for index, (title, table) in enumerate(sections):
    rows = ",\n".join(f"{write(key)}:{write(table[key])}" for key in sorted(table))
    print(f'"{title}":{{\n{rows}\n}}' + ("," if index + 1 < len(sections) else ""))
print("}")
