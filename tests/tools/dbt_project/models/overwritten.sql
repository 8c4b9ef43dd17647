{{ config(
  materialized='incremental',
  incremental_strategy='insert_overwrite',
  partition_by={'field': 'day', 'data_type': 'date'}
) }}
SELECT day, COUNT(*) AS n FROM {{ ref('people') }} GROUP BY day
