"""The templates as plain data: intrinsic functions are evaluated for a deployment with given parameters.

What only AWS knows is written so that it can be recognized: `arn:...` for the ARN of a resource by its logical id, and so on.
"""

from functools import cache
from pathlib import Path

import yaml

INFRA = Path(__file__).resolve().parents[2] / "infra"
PSEUDO = {
    "AWS::StackName": "tieline-test",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()


class Loader(yaml.SafeLoader):
    """Reads the short forms: `!Sub x` as `{"Fn::Sub": x}`, and `!Ref x` as `{"Ref": x}`."""


def _intrinsic(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _intrinsic)


@cache
def read(name: str) -> dict:
    return yaml.load((INFRA / name).read_text(), Loader)


class Stack:
    """A template, deployed with `parameters`."""

    def __init__(self, name: str, **parameters):
        self.source = read(name)
        declared = self.source.get("Parameters", {})
        unknown = set(parameters) - set(declared)
        assert not unknown, f"{name} has no parameter {unknown}"
        self.parameters = {key: parameters.get(key, it.get("Default")) for key, it in declared.items()}
        for key, it in declared.items():
            if it["Type"] == "CommaDelimitedList" and isinstance(self.parameters[key], str):
                self.parameters[key] = self.parameters[key].split(",") if self.parameters[key] else []
        self.resources = {}
        for key, it in self.source["Resources"].items():
            if self.holds(it.get("Condition")):
                self.resources[key] = {"Type": it["Type"], "Properties": self.resolve(it.get("Properties", {}))}

    def of_type(self, kind: str) -> dict[str, dict]:
        return {key: it["Properties"] for key, it in self.resources.items() if it["Type"] == kind}

    def holds(self, condition) -> bool:
        if condition is None:
            return True
        if isinstance(condition, str):
            condition = self.source["Conditions"][condition]
        ((function, value),) = condition.items()
        match function:
            case "Condition":
                return self.holds(value)
            case "Fn::Equals":
                left, right = (self.resolve(it) for it in value)
                return left == right
            case "Fn::Not":
                return not self.holds(value[0])
            case "Fn::And":
                return all(map(self.holds, value))
            case "Fn::Or":
                return any(map(self.holds, value))
            case "Fn::EachMemberEquals":
                members, each = (self.resolve(it) for it in value)
                return all(it == each for it in members)
        raise ValueError(condition)

    def refused(self) -> list[str]:
        """Messages of the rules by which CloudFormation would reject these parameters."""
        rules = [it for it in self.source.get("Rules", {}).values() if self.holds(it["RuleCondition"])]
        return [it["AssertDescription"] for rule in rules for it in rule["Assertions"] if not self.holds(it["Assert"])]

    def resolve(self, value):
        if isinstance(value, list):
            return [it for it in map(self.resolve, value) if it is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref":
                return self.ref(argument)
            if function.startswith("Fn::"):
                return self.call(function, argument)
        resolved = {key: self.resolve(it) for key, it in value.items()}
        return {key: it for key, it in resolved.items() if it is not NO_VALUE}

    def call(self, function, argument):
        match function:
            case "Fn::Sub":
                return self.sub(argument)
            case "Fn::If":
                return self.resolve(argument[1] if self.holds(argument[0]) else argument[2])
            case "Fn::Join":
                return argument[0].join(map(str, self.resolve(argument[1])))
            case "Fn::GetAtt":
                return self.attribute(*argument)
            case "Fn::Select":
                return self.resolve(argument[1])[int(argument[0])]
            case "Fn::GetAZs":
                return ["us-east-1a", "us-east-1b"]
        raise ValueError(function)

    def sub(self, text):
        out, rest = "", text
        while "${" in rest:
            before, _, rest = rest.partition("${")
            name, _, rest = rest.partition("}")
            value = self.attribute(*name.split(".", 1)) if "." in name else self.ref(name)
            out += before + str(value)
        return out + rest

    def ref(self, name):
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        resource = self.source["Resources"][name]
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::SQS::Queue":
                return f"https://sqs.us-east-1.amazonaws.com/123456789012/{self.resolve(properties['QueueName'])}"
            case "AWS::DynamoDB::Table":
                return self.resolve(properties["TableName"])
            case "AWS::Serverless::Function":
                return self.resolve(properties["FunctionName"])
            case "AWS::Logs::LogGroup":
                return self.resolve(properties["LogGroupName"])
        return name

    def attribute(self, name, attribute):
        resource = self.source["Resources"][name]
        if attribute == "ApiEndpoint":
            return "https://api.execute-api.us-east-1.amazonaws.com"
        if attribute != "Arn":
            return f"{name}.{attribute}"
        match resource["Type"]:
            case "AWS::SQS::Queue":
                return f"arn:aws:sqs:us-east-1:123456789012:{self.resolve(resource['Properties']['QueueName'])}"
            case "AWS::DynamoDB::Table":
                return f"arn:aws:dynamodb:us-east-1:123456789012:table/{self.ref(name)}"
            case "AWS::Logs::LogGroup":
                return f"arn:aws:logs:us-east-1:123456789012:log-group:{self.ref(name)}:*"
        return f"arn:{name}"


def nested(outer: Stack, name: str) -> Stack:
    """The stack that `outer` nests under a logical id, with the parameters that it passes."""
    properties = outer.resources[name]["Properties"]
    return Stack(properties["TemplateURL"].removeprefix("./"), **properties["Parameters"])
