import time
from tests.graph.conftest import *
async def test_x(client):
    for _ in range(3):
        await client.data("{ __typename }")
    a=[]
    for _ in range(20):
        t=time.perf_counter(); await client.data("{ __typename }"); a.append(round((time.perf_counter()-t)*1000,1))
    print(a)
