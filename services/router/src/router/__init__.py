"""From a record to a workflow start: which definitions does this event start?"""
