"""The console as one part of the REST door."""

from fastapi import APIRouter

from api.console import desk as desks
from api.console.desk import Desk
from api.console.pages import counts, hooks, mail, overview, people, queue, told, ways
from api.thin import ThinRoute


def router(desk: Desk) -> APIRouter:
    routes = APIRouter(route_class=ThinRoute, include_in_schema=False)
    routes.include_router(desks.router(desk))
    for pages in (overview, mail, queue, ways, counts, people, hooks, told):
        pages.add(desk, routes)
    desks.close(desk, routes)
    return routes
